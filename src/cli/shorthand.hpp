// The AWS CLI's shorthand for structures, "Id=192.0.2.1,Port=8080", as far as the control verbs take it:
// pure.
#pragma once

#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace tlsplice::cli {

/// name=value pairs with commas between them; a comma that no name and "=" follow belongs to the value. The
/// error is for people.
std::expected<std::map<std::string, std::string>, std::string> parse_shorthand(std::string_view text);

/// "Id=192.0.2.1,Port=8080" or "192.0.2.1:8080" as "192.0.2.1:8080"; whether that is a target is the
/// service's to say.
std::expected<std::string, std::string> parse_target(const std::string& text);

/// "Key=stickiness.enabled,Value=true" or "stickiness.enabled=true".
std::expected<std::pair<std::string, std::string>, std::string> parse_attribute(const std::string& text);

struct CertificateFiles {
  std::string chain;
  std::string key;
};
/// "chain=web.pem,key=web.key".
std::expected<CertificateFiles, std::string> parse_certificate(const std::string& text);

}  // namespace tlsplice::cli
