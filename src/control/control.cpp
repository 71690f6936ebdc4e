// One change after another: plan, write, hand over, and only then say that it is done. A plan is made when
// its turn comes, from what is in force then.
#include "tlsplice/control/control.hpp"

#include <fmt/format.h>

#include "commands.hpp"
#include "tlsplice/policy/words.hpp"

namespace tlsplice::control {
namespace {

std::string text_of(std::string_view operation, const Objections& objections) {
  std::string text = fmt::format(
      "An error occurred ({}) when calling the {} operation: ", objections.front().code, operation);
  for (const Objection& objection : objections) {
    if (&objection != &objections.front()) text += "\n  ";
    text += to_string(objection);
  }
  return text;
}

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string all_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : "; ") + line;
  return text;
}

}  // namespace

Control::Control(Loaded loaded, Service service, base::Log log)
    : now_(std::move(loaded)), service_(std::move(service)), log_(log) {
  const std::string file = changes_file(now_.file.file).string();
  for (const std::string& line : now_.dropped)
    log_.warning("change_dropped", {{"file", file}, {"why", line}});
  if (!now_.changes.empty())
    log_.info("changes", {{"file", file}, {"what", all_of(tell(now_.changes, now_.file))}});
  // Without those that were dropped, or that the file has caught up with: it may change its mind.
  auto staged = StagedChanges::write(file, now_.changes);
  const auto kept = staged ? staged->commit() : base::fail(std::move(staged.error()));
  if (!kept) log_.warning("changes_not_kept", {{"file", file}, {"why", kept.error().text()}});
}

Control::~Control() = default;

void Control::answer(std::string_view name, std::string_view arguments, Reply reply) {
  const Command* const command = find_command(name);
  Objections objections;
  if (command == nullptr) return reply(std::unexpected("unknown command " + policy::in_quotes(name)));
  const auto json = parse_object(arguments, objections);
  if (!json) return reply(std::unexpected(text_of(command->operation, objections)));
  JsonReader reader(*json, "", objections);
  if (command->at_once != nullptr) {
    const ordered_json answer = command->at_once(now_, service_, reader, objections);
    if (!objections.empty()) return reply(std::unexpected(text_of(command->operation, objections)));
    return reply(text_of(answer));
  }
  Planned planned = command->change(reader, objections);
  if (!objections.empty()) return reply(std::unexpected(text_of(command->operation, objections)));
  if (waiting_.size() >= kWaitingMax) {
    objections.push_back({"Throttling", "", "too many changes wait for their turn, try again later"});
    return reply(std::unexpected(text_of(command->operation, objections)));
  }
  waiting_.push_back(std::make_shared<Job>(Job{.command = command,
                                               .arguments = std::string(arguments),
                                               .planned = std::move(planned),
                                               .reply = std::move(reply)}));
  work();
}

/// Begins what waits, until something must be waited for.
void Control::work() {
  while (!at_work_ && !waiting_.empty()) {
    const std::shared_ptr<Job> job = std::move(waiting_.front());
    waiting_.pop_front();
    auto next = job->planned.plan(now_);
    if (!next) {
      refuse(*job, next.error());
      continue;
    }
    if (next->changes == now_.changes && !job->planned.even_if_same) {
      job->reply(text_of(job->planned.answer(now_, now_)));
      continue;
    }
    auto staged = StagedChanges::write(changes_file(now_.file.file), next->changes);
    if (!staged) {
      refuse(*job, {{"InvalidConfigurationRequest", "",
                     fmt::format("{}; a change must be kept to be there after a restart, so make the "
                                 "configuration's folder one that the service can write to",
                                 staged.error().text())}});
      continue;
    }
    job->staged.emplace(std::move(*staged));
    job->next = std::move(*next);
    at_work_ = true;
    service_.take_over(job->next.config, [this, job](const std::vector<policy::Mistake>& mistakes) {
      finish(*job, mistakes);
      at_work_ = false;
      work();
    });
  }
}

void Control::finish(Job& job, const std::vector<policy::Mistake>& mistakes) {
  if (!mistakes.empty()) {
    job.staged.reset();
    Objections objections;
    for (const policy::Mistake& mistake : mistakes) {
      objections.push_back({"InvalidConfigurationRequest", "",
                            mistake.place.line == 0 ? to_string(Objection{"", mistake.key, mistake.what})
                                                    : policy::to_string(job.next.file.file, mistake)});
    }
    return refuse(job, objections);
  }
  const auto kept = job.staged->commit();
  const std::string file = changes_file(now_.file.file).string();
  const Loaded before = std::exchange(now_, std::move(job.next));
  for (const std::string& line : now_.dropped)
    log_.warning("change_dropped", {{"file", file}, {"why", line}});
  log_.info("changed", {{"operation", job.command->operation}, {"arguments", job.arguments}});
  if (!kept) {
    log_.error("changes_not_kept", {{"file", file}, {"why", kept.error().text()}});
    return job.reply(
        std::unexpected(fmt::format("The {} operation is in force, but will not be after a restart: {}",
                                    job.command->operation, kept.error().text())));
  }
  job.reply(text_of(job.planned.answer(before, now_)));
}

void Control::refuse(Job& job, const Objections& objections) {
  const std::string text = text_of(job.command->operation, objections);
  log_.warning("change_refused",
               {{"operation", job.command->operation}, {"arguments", job.arguments}, {"why", text}});
  job.reply(std::unexpected(text));
}

}  // namespace tlsplice::control
