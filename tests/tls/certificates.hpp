// Keys and self-signed certificates for the tests, made with OpenSSL's API into a folder that lives as long
// as the Certificates object. Keys are made on first use: an RSA key of 4096 bits takes seconds.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "tlsplice/base/expect.hpp"
#include "tlsplice/policy/config.hpp"

namespace tlsplice::tests {

enum class Key { kRsa1024, kRsa2048, kRsa2048Another, kRsa4096, kEcP256, kEd25519 };

/// Validity in days from now.
struct Days {
  long from = -1;
  long until = 30;
};

class Certificates {
 public:
  Certificates();
  ~Certificates() { std::filesystem::remove_all(folder_); }
  Certificates(const Certificates&) = delete;
  Certificates& operator=(const Certificates&) = delete;

  /// One for all tests of a process.
  static Certificates& shared();

  policy::Certificate of(Key key, Days days = {});
  /// The certificate of one key with another key.
  policy::Certificate mixed(Key chain, Key key) { return {of(chain).chain, of(key).key, {}}; }
  policy::Certificate with_encrypted_key(Key key);
  /// A certificate that `issuer` has signed, whose own is in the second file.
  std::pair<policy::Certificate, std::filesystem::path> issued_by(Key issuer, Key key);
  std::filesystem::path garbage();
  std::filesystem::path missing() const { return folder_ / "missing.pem"; }

  EVP_PKEY* key(Key key);

 private:
  struct FreeKey {
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  struct FreeCertificate {
    void operator()(X509* certificate) const { X509_free(certificate); }
  };
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  using File = std::unique_ptr<std::FILE, CloseFile>;
  static constexpr const char* kName = "localhost";

  static EVP_PKEY* make_key(Key key);
  struct Issuer {
    const char* name;
    EVP_PKEY* key;
  };
  std::unique_ptr<X509, FreeCertificate> sign(const char* name, EVP_PKEY* key, Days days, Issuer by);
  static void add_name(X509_NAME* to, const char* name) {
    const auto* bytes = reinterpret_cast<const unsigned char*>(name);
    X509_NAME_add_entry_by_txt(to, "CN", MBSTRING_ASC, bytes, -1, -1, 0);
  }
  std::filesystem::path fresh(const char* suffix);
  static File open(const std::filesystem::path& path) { return File(std::fopen(path.c_str(), "w")); }

  std::filesystem::path folder_;
  std::map<Key, std::unique_ptr<EVP_PKEY, FreeKey>> keys_;
  int files_ = 0;
};

inline Certificates::Certificates() {
  std::string name = (std::filesystem::temp_directory_path() / "tlsplice-test-XXXXXX").string();
  TLSPLICE_EXPECT(::mkdtemp(name.data()) != nullptr, "the tests need a temporary folder");
  folder_ = name;
}

inline Certificates& Certificates::shared() {
  static Certificates certificates;
  return certificates;
}

inline EVP_PKEY* Certificates::make_key(Key key) {
  switch (key) {
    case Key::kRsa1024:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{1024});
    case Key::kRsa2048:
    case Key::kRsa2048Another:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{2048});
    case Key::kRsa4096:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "RSA", std::size_t{4096});
    case Key::kEcP256:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", "P-256");
    case Key::kEd25519:
      return EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  }
  return nullptr;
}

inline EVP_PKEY* Certificates::key(Key key) {
  auto& slot = keys_[key];
  if (!slot) slot.reset(make_key(key));
  TLSPLICE_EXPECT(slot != nullptr, "OpenSSL makes the tests' keys");
  return slot.get();
}

inline std::unique_ptr<X509, Certificates::FreeCertificate> Certificates::sign(const char* name,
                                                                               EVP_PKEY* key, Days days,
                                                                               Issuer by) {
  std::unique_ptr<X509, FreeCertificate> certificate(X509_new());
  constexpr long kDay = 24 * 60 * 60;
  X509_set_version(certificate.get(), X509_VERSION_3);
  ASN1_INTEGER_set(X509_get_serialNumber(certificate.get()), ++files_);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), days.from * kDay);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), days.until * kDay);
  add_name(X509_get_subject_name(certificate.get()), name);
  add_name(X509_get_issuer_name(certificate.get()), by.name);
  X509_set_pubkey(certificate.get(), key);
  const bool digestless = EVP_PKEY_get_base_id(by.key) == EVP_PKEY_ED25519;
  TLSPLICE_EXPECT(X509_sign(certificate.get(), by.key, digestless ? nullptr : EVP_sha256()) > 0,
                  "OpenSSL signs the tests' certificates");
  return certificate;
}

inline std::filesystem::path Certificates::fresh(const char* suffix) {
  return folder_ / (std::to_string(++files_) + suffix);
}

inline policy::Certificate Certificates::of(Key which, Days days) {
  policy::Certificate made{fresh(".pem"), fresh(".key"), {}};
  EVP_PKEY_up_ref(key(which));
  const std::unique_ptr<EVP_PKEY, FreeKey> held(key(which));
  PEM_write_X509(open(made.chain).get(), sign(kName, held.get(), days, {kName, held.get()}).get());
  PEM_write_PrivateKey(open(made.key).get(), held.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return made;
}

inline policy::Certificate Certificates::with_encrypted_key(Key which) {
  policy::Certificate made = of(which);
  made.key = fresh(".key");
  std::array<unsigned char, 6> passphrase{'s', 'e', 'c', 'r', 'e', 't'};
  PEM_write_PrivateKey(open(made.key).get(), key(which), EVP_aes_128_cbc(), passphrase.data(),
                       static_cast<int>(passphrase.size()), nullptr, nullptr);
  return made;
}

inline std::pair<policy::Certificate, std::filesystem::path> Certificates::issued_by(Key issuer, Key which) {
  policy::Certificate made = of(which);
  const Issuer by{"an authority", key(issuer)};
  PEM_write_X509(open(made.chain).get(), sign(kName, key(which), {}, by).get());
  auto own = fresh(".pem");
  PEM_write_X509(open(own).get(), sign(by.name, by.key, {}, by).get());
  return {std::move(made), std::move(own)};
}

inline std::filesystem::path Certificates::garbage() {
  auto path = fresh(".pem");
  std::ofstream(path) << "-----BEGIN CERTIFICATE-----\nnot base64 at all!\n-----END CERTIFICATE-----\n";
  return path;
}

}  // namespace tlsplice::tests
