// The other end of the admin socket: what the verbs of the command line ask of a running service. For
// processes that may wait.
#pragma once

#include <string>
#include <vector>

#include "tlsplice/base/clock.hpp"
#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::admin {

struct Answer {
  std::string json;  // one object, without "error"
  std::vector<base::Fd> descriptors;
};

inline constexpr base::Milliseconds kPatience{5000};
/// For commands that the service answers only when they are done: longer than it waits itself.
inline constexpr base::Milliseconds kWorkPatience{130'000};

/// Sends the command, a name such as "flows", and waits for the answer, at most `patience`. `arguments` is a
/// JSON object. The error says what people can do: no service there, no right to ask it, or what the service
/// had to say.
base::Result<Answer> ask(const std::string& path, const std::string& command,
                         base::Milliseconds patience = kPatience, const std::string& arguments = "{}");

}  // namespace tlsplice::admin
