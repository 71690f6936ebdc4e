// A structure as the AWS CLI takes it for an option, as JSON or in its shorthand
// ("Type=forward,ForwardConfig={TargetGroups=[{TargetGroupArn=app,Weight=1}]}"), and the one that is a
// listener's default action: pure.
#pragma once

#include <expected>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace tlsplice::cli {

/// In shorthand every value is text. The error is for people.
std::expected<nlohmann::json, std::string> parse_structure(std::string_view text);

/// "forward=app", or the AWS CLI's "Type=forward,...", with one target group or several and their weights:
/// the argument `forward` of modify-listener. Whether there are such groups is the service's to say.
std::expected<nlohmann::json, std::string> parse_action(const std::string& text);

}  // namespace tlsplice::cli
