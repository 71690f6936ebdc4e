// RecordStream: one TLS connection whose record layer is our own, in user space, as a net::Stream; what
// becomes of a connection that kernel TLS does not take but whose suite is an AEAD. OpenSSL's state is gone
// by then: a flow at rest holds two ciphers and nothing else, a read decrypts all that one recv(2) brought
// straight into the reader's buffer, a write sends several records with one send(2).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tlsplice/ktls/established.hpp"

namespace tlsplice::tls {

class RecordStream final : public ktls::EstablishedStream {
 public:
  /// Nothing may have been read from the socket that was not opened. Takes the socket unless memory is short;
  /// then null.
  static std::unique_ptr<RecordStream> create(base::Fd& socket, const ktls::TrafficKeys& keys,
                                              std::uint64_t records_per_key = ktls::kRecordsPerKeyMax);
  ~RecordStream() override;

  net::Io read(std::span<std::byte> into) override;
  net::Io write(std::span<const std::byte> from) override;
  bool drained() const override { return drained_ && !held_ && payload_.empty(); }
  net::Splicing splices_out() const override { return net::Splicing::kNever; }
  net::Splicing splices_in() const override { return net::Splicing::kNever; }

 private:
  struct Ciphers;
  RecordStream(base::Fd socket, const ktls::TrafficKeys& keys, std::uint64_t records_per_key,
               std::unique_ptr<Ciphers> ciphers);
  bool send_record(std::uint8_t type, std::span<const std::byte> body, bool more) override;
  bool flush() override;
  bool change_key(ktls::Way way, const ktls::DirectionKeys& keys) override;
  std::uint64_t records_sent(std::uint64_t at_most) const override;

  std::optional<net::Io> receive(std::size_t& raw, std::size_t room);
  std::optional<net::Io> open_one(std::span<std::byte> record, std::span<std::byte> into,
                                  std::size_t& filled);
  net::Io refuse(std::uint8_t alert);
  net::Io take_held(std::span<std::byte> into);

  std::unique_ptr<Ciphers> ciphers_;
  std::vector<std::byte> raw_;      // received, not opened: part of a record
  std::vector<std::byte> payload_;  // opened, and more than the reader had room for
  std::vector<std::byte> sealed_;   // that the socket has not taken
  std::size_t sealed_payload_ = 0;  // of the bytes that write() was given: to be said when it has taken them
  std::optional<net::Io> held_;     // what read() met behind the bytes it returned
  bool drained_ = false;
};

}  // namespace tlsplice::tls
