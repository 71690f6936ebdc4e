// Programs that must die: a list element that dies linked or is linked twice, a list that dies before its
// elements. Each runs in a process of its own, which must end by SIGABRT and say why, with the condition and
// the place.
#include <memory>

#include "crash.hpp"
#include "tlsplice/base/expect.hpp"
#include "tlsplice/base/list.hpp"

namespace tlsplice::base {
namespace {

struct Element : ListNode<Element> {};

void let_an_element_die_linked() {
  List<Element> list;
  const auto element = std::make_unique<Element>();
  list.push_back(*element);
}

TEST(ListCrash, AnElementDiedLinked) {
  TLSPLICE_EXPECT_ABORT(let_an_element_die_linked(), "bug: a list element died while still in its list");
}

void let_a_list_die_first() {
  Element element;
  List<Element> list;
  list.push_back(element);
}

TEST(ListCrash, AListDiedBeforeItsElements) {
  TLSPLICE_EXPECT_ABORT(let_a_list_die_first(), "bug: a list died before its elements left it");
}

void link_twice() {
  Element element;
  List<Element> first, second;
  first.push_back(element);
  second.push_back(element);
}

TEST(ListCrash, AnElementInTwoLists) {
  TLSPLICE_EXPECT_ABORT(link_twice(), "bug: an element can be in one list only");
}

TEST(ExpectCrash, SaysWhatAndWhere) {
  const int balance = -1;
  TLSPLICE_EXPECT_ABORT(TLSPLICE_EXPECT(balance >= 0, "nobody owes us"),
                        "^tlsplice: bug: nobody owes us \\(balance >= 0 at base_test.cpp:[0-9]+\\)");
  TLSPLICE_EXPECT(balance < 0, "and what holds goes on");
}

}  // namespace
}  // namespace tlsplice::base
