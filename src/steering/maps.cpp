#include "tlsplice/steering/maps.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <numbers.skel.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "remedy.hpp"
#include "tlsplice/wire/numbers.h"

namespace tlsplice::steering {

using base::Error;
using base::Result;

struct Maps::Loaded {
  explicit Loaded(numbers_bpf* opened) : skeleton(opened) {}
  Loaded(const Loaded&) = delete;
  Loaded& operator=(const Loaded&) = delete;
  ~Loaded() { numbers_bpf::destroy(skeleton); }

  numbers_bpf* skeleton;
  bool has_tables = true;
};

namespace {

void set_sizes(numbers_bpf& skeleton, const Sizes& sizes) {
  const auto resize = [](bpf_map* map, std::size_t rows) {
    bpf_map__set_max_entries(map, static_cast<__u32>(std::max<std::size_t>(rows, 1)));
  };
  const std::size_t stride = sizes.workers + 1;  // and the past: observe::CounterTable
  skeleton.rodata->stride = static_cast<__u32>(stride);
  resize(skeleton.maps.workers, sizes.workers);
  resize(skeleton.maps.steering, sizes.listeners);
  resize(skeleton.maps.counters, stride);
  resize(skeleton.maps.listeners, sizes.listeners * stride);
  resize(skeleton.maps.targets, sizes.targets * stride);
  resize(skeleton.maps.negotiated, TLSPLICE_NEGOTIATED_ROWS * stride);
  resize(skeleton.maps.ktls, TLSPLICE_KTLS_ROWS * stride);
  resize(skeleton.maps.histograms, sizes.listeners * stride);
  resize(skeleton.maps.target_health, sizes.targets);
  resize(skeleton.maps.target_groups, sizes.target_groups);
}

void leave_out_tables(numbers_bpf& skeleton) {
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton.obj) bpf_program__set_autoload(program, false);
}

}  // namespace

// ---- Maps

Maps::Maps(std::unique_ptr<Loaded> loaded) : loaded_(std::move(loaded)) {}
Maps::Maps(Maps&& other) noexcept = default;
Maps::~Maps() = default;

/// A kernel without BTF has no iterators: the second try does without.
Result<Maps> Maps::create(const Sizes& sizes) {
  libbpf_set_print(nullptr);  // its messages are no log lines
  int error = 0;
  for (const bool tables : {true, false}) {
    numbers_bpf* skeleton = numbers_bpf::open();
    if (skeleton == nullptr) return base::fail(cannot("open the maps of numbers", errno));
    auto loaded = std::make_unique<Loaded>(skeleton);
    loaded->has_tables = tables;
    set_sizes(*skeleton, sizes);
    if (!tables) leave_out_tables(*skeleton);
    error = -numbers_bpf::load(skeleton);
    if (error == 0) return Maps(std::move(loaded));
  }
  return base::fail(cannot("make the maps of numbers", error));
}

bool Maps::has_tables() const {
  return loaded_->has_tables;
}
int Maps::workers() const {
  return bpf_map__fd(loaded_->skeleton->maps.workers);
}
int Maps::steering() const {
  return bpf_map__fd(loaded_->skeleton->maps.steering);
}
int Maps::counters() const {
  return bpf_map__fd(loaded_->skeleton->maps.counters);
}
int Maps::listeners() const {
  return bpf_map__fd(loaded_->skeleton->maps.listeners);
}
int Maps::targets() const {
  return bpf_map__fd(loaded_->skeleton->maps.targets);
}
int Maps::negotiated() const {
  return bpf_map__fd(loaded_->skeleton->maps.negotiated);
}
int Maps::ktls() const {
  return bpf_map__fd(loaded_->skeleton->maps.ktls);
}
int Maps::histograms() const {
  return bpf_map__fd(loaded_->skeleton->maps.histograms);
}
int Maps::target_health() const {
  return bpf_map__fd(loaded_->skeleton->maps.target_health);
}
int Maps::target_groups() const {
  return bpf_map__fd(loaded_->skeleton->maps.target_groups);
}

// ---- Pins

Result<void> expect_bpffs(const std::string& directory) {
  const std::string parent = std::filesystem::path(directory).parent_path();
  struct statfs system{};
  if (::statfs(parent.c_str(), &system) != 0)
    return base::fail(Error::system(fmt::format("look at {}", parent), errno));
  if (system.f_type == BPF_FS_MAGIC) return {};
  return base::fail(Error::invalid(fmt::format(
      "{} is no bpffs: mount -t bpf bpf {}, or set bpf_directory to a directory of one", parent, parent)));
}

namespace {

// Every file that a service makes. What else lies in the directory is somebody else's and stays.
constexpr const char* kFiles[] = {
    "workers",        "steering",       "counters",         "listeners",           "targets",
    "negotiated",     "ktls",           "histograms",       "listeners_table",     "targets_table",
    "workers_table",  "steering_table", "negotiated_table", "ktls_table",          "histograms_table",
    "counters_table", "target_health",  "target_groups",    "target_health_table", "target_groups_table"};

constexpr const char* kMaking = "making";  // becomes one of them

Result<base::Fd> open_directory(const std::string& directory) {
  if (auto there = expect_bpffs(directory); !there) return base::fail(std::move(there.error()));
  if (::mkdir(directory.c_str(), S_IRWXU) != 0 && errno != EEXIST)
    return base::fail(Error::system(fmt::format("make the directory {}", directory), errno));
  base::Fd lock(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!lock) return base::fail(Error::system(fmt::format("open the directory {}", directory), errno));
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return base::fail(Error::invalid(fmt::format(
        "another service has its numbers in {}: give this one a bpf_directory of its own", directory)));
  }
  return lock;
}

}  // namespace

Result<Pins> Pins::create(const std::string& directory, const Maps& maps) {
  auto lock = open_directory(directory);
  if (!lock) return base::fail(std::move(lock.error()));
  Pins pins(directory, std::move(*lock));
  pins.remove_files();  // of a service that did not end in order: nobody holds the lock
  if (auto done = pins.replace(maps); !done) return base::fail(std::move(done.error()));
  return pins;
}

Result<void> Pins::replace(const Maps& maps) {
  if (auto done = pin(maps); !done) return done;
  has_tables_ = pin_tables(maps);
  return {};
}

/// A file is made under another name, then put in the place of the one that may be there.
bool Pins::put_in_place(const char* name) const {
  const std::string made = path(kMaking);
  return ::rename(made.c_str(), path(name).c_str()) == 0;
}

Pins& Pins::operator=(Pins&& other) noexcept {
  std::swap(directory_, other.directory_);
  std::swap(lock_, other.lock_);
  std::swap(has_tables_, other.has_tables_);
  return *this;
}

Pins::~Pins() {
  if (!lock_) return;
  remove_files();
  ::rmdir(directory_.c_str());  // fails when somebody else has put something there, which then stays
}

Result<void> Pins::pin(const Maps& maps) {
  const std::pair<const char*, int> files[] = {{"workers", maps.workers()},
                                               {"steering", maps.steering()},
                                               {"counters", maps.counters()},
                                               {"listeners", maps.listeners()},
                                               {"targets", maps.targets()},
                                               {"negotiated", maps.negotiated()},
                                               {"ktls", maps.ktls()},
                                               {"histograms", maps.histograms()},
                                               {"target_health", maps.target_health()},
                                               {"target_groups", maps.target_groups()}};
  for (const auto& [name, map] : files) {
    if (bpf_obj_pin(map, path(kMaking).c_str()) != 0 || !put_in_place(name))
      return base::fail(Error::system(fmt::format("pin {}", path(name)), errno));
  }
  return {};
}

/// The file is the link: a program that iterates over one map, and the kernel runs it for each reader.
bool Pins::pin_tables(const Maps& maps) const {
  if (!maps.has_tables()) return false;
  const auto& programs = maps.loaded_->skeleton->progs;
  const std::tuple<const char*, bpf_program*, int> tables[] = {
      {"listeners_table", programs.show_listeners, maps.listeners()},
      {"targets_table", programs.show_targets, maps.targets()},
      {"workers_table", programs.show_workers, maps.workers()},
      {"steering_table", programs.show_steering, maps.steering()},
      {"negotiated_table", programs.show_negotiated, maps.negotiated()},
      {"ktls_table", programs.show_ktls, maps.ktls()},
      {"histograms_table", programs.show_histograms, maps.histograms()},
      {"counters_table", programs.show_counters, maps.counters()},
      {"target_health_table", programs.show_target_health, maps.target_health()},
      {"target_groups_table", programs.show_target_groups, maps.target_groups()}};
  for (const auto& [name, program, map] : tables) {
    bpf_iter_link_info info{};
    info.map.map_fd = static_cast<__u32>(map);
    bpf_iter_attach_opts options{};
    options.sz = sizeof options;
    options.link_info = &info;
    options.link_info_len = sizeof info;
    bpf_link* link = bpf_program__attach_iter(program, &options);
    if (link == nullptr) return false;
    const int error = bpf_link__pin(link, path(kMaking).c_str());
    bpf_link__destroy(link);  // ours: the pin holds its own
    if (error != 0 || !put_in_place(name)) return false;
  }
  return true;
}

void Pins::remove_files() const {
  for (const char* name : kFiles) ::unlink(path(name).c_str());
  ::unlink(path(kMaking).c_str());
}

}  // namespace tlsplice::steering
