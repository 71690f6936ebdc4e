// The BPF arrays that hold the numbers and the workers' loads, made by the master, sized to the
// configuration, and pinned so that bpftool and cat find them. They are memory to everyone else
// (base::SharedRows); without the privilege for them, anonymous memory takes their place and only the files
// are missing. Rows and their names: tlsplice/wire/. Tables: bpf/numbers.bpf.c.
#pragma once

#include <memory>
#include <string>

#include "tlsplice/base/fd.hpp"
#include "tlsplice/base/result.hpp"

namespace tlsplice::steering {

struct Sizes {
  std::size_t workers = 1;
  std::size_t listeners = 1;
  std::size_t targets = 1;
  std::size_t target_groups = 1;
};

class Maps {
 public:
  /// Needs CAP_BPF, and CAP_PERFMON for the tables; the error says what to do.
  static base::Result<Maps> create(const Sizes& sizes);
  Maps(Maps&& other) noexcept;
  Maps& operator=(Maps&&) = delete;
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;
  ~Maps();

  /// Whether the kernel has the iterators that print the tables.
  bool has_tables() const;

  // Descriptors of the arrays, for SharedRows and for other programs. Rows as the wire headers say.
  int workers() const;
  int steering() const;
  int counters() const;
  int listeners() const;
  int targets() const;
  int negotiated() const;
  int ktls() const;
  int histograms() const;
  int target_health() const;
  int target_groups() const;

 private:
  friend class Pins;
  struct Loaded;
  explicit Maps(std::unique_ptr<Loaded> loaded);

  std::unique_ptr<Loaded> loaded_;
};

/// Whether maps can be pinned in `directory`: the error says how its parent becomes a bpffs.
base::Result<void> expect_bpffs(const std::string& directory);

/// The files of one service in a directory of its own on bpffs: every map under its name, and once more as a
/// table (`listeners_table` and so on) where the kernel has BPF iterators. Readable by root. They go with the
/// Pins; what a service left behind that did not end in order is replaced by the next one.
class Pins {
 public:
  /// Makes the directory if need be. Fails when there is no bpffs, or when another service lives there.
  static base::Result<Pins> create(const std::string& directory, const Maps& maps);
  Pins(Pins&& other) noexcept = default;
  Pins& operator=(Pins&& other) noexcept;
  Pins(const Pins&) = delete;
  Pins& operator=(const Pins&) = delete;
  ~Pins();

  bool has_tables() const { return has_tables_; }
  /// The same files show other maps from now on; at no moment is there none. On failure they may be of both.
  base::Result<void> replace(const Maps& maps);
  const std::string& directory() const { return directory_; }
  /// In a child: the files are its parent's.
  void abandon() { lock_.reset(); }

 private:
  Pins(std::string directory, base::Fd lock) : directory_(std::move(directory)), lock_(std::move(lock)) {}
  base::Result<void> pin(const Maps& maps);
  bool pin_tables(const Maps& maps) const;
  bool put_in_place(const char* name) const;
  std::string path(const char* name) const { return directory_ + '/' + name; }
  void remove_files() const;

  std::string directory_;
  base::Fd lock_;  // flock(2) on the directory: held, it says that the owner of the files lives
  bool has_tables_ = false;
};

}  // namespace tlsplice::steering
