// Promised: an intrusive list keeps the order of its elements, each of which leaves it by itself, in any
// order. Checked by hand and against a std::list through thousands of random steps. What must abort is in
// tests/crash.
#include "tlsplice/base/list.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <list>
#include <random>
#include <vector>

namespace tlsplice::base {
namespace {

struct Element : ListNode<Element> {
  explicit Element(int number) : number(number) {}
  int number;
};

std::vector<int> numbers(List<Element>& list) {
  std::vector<int> seen;
  list.each([&](Element& element) { seen.push_back(element.number); });
  return seen;
}

TEST(List, StartsEmpty) {
  List<Element> list;
  EXPECT_TRUE(list.empty());
  EXPECT_EQ(numbers(list), std::vector<int>());
}

TEST(List, KeepsTheOrder) {
  Element one(1), two(2), three(3);
  List<Element> list;
  for (Element* element : {&one, &two, &three}) list.push_back(*element);
  EXPECT_EQ(numbers(list), (std::vector{1, 2, 3}));
  EXPECT_EQ(&list.front(), &one);
  EXPECT_EQ(&list.pop_front(), &one);
  EXPECT_FALSE(one.linked());
  EXPECT_EQ(numbers(list), (std::vector{2, 3}));
  list.push_back(one);
  EXPECT_EQ(numbers(list), (std::vector{2, 3, 1}));
  for (Element* element : {&one, &two, &three}) element->unlink();
  EXPECT_TRUE(list.empty());
}

TEST(List, AnElementGoesBehindAnother) {
  Element one(1), two(2), three(3), four(4);
  List<Element> list;
  list.push_front(two);
  list.push_front(one);
  list.insert_after(two, four);
  list.insert_after(two, three);
  EXPECT_EQ(numbers(list), (std::vector{1, 2, 3, 4}));
  EXPECT_EQ(list.after(one), &two);
  EXPECT_EQ(list.after(four), nullptr);
  for (Element* element : {&one, &two, &three, &four}) element->unlink();
  EXPECT_TRUE(list.empty());
}

TEST(List, AnElementLeavesFromAnyPlace) {
  Element one(1), two(2), three(3);
  List<Element> list;
  for (Element* element : {&one, &two, &three}) list.push_back(*element);
  two.unlink();
  EXPECT_EQ(numbers(list), (std::vector{1, 3}));
  three.unlink();
  EXPECT_EQ(numbers(list), std::vector{1});
  one.unlink();
  EXPECT_TRUE(list.empty());
}

TEST(List, LeavingTwiceIsLeavingOnce) {
  Element one(1);
  List<Element> list;
  list.push_back(one);
  one.unlink();
  one.unlink();
  EXPECT_FALSE(one.linked());
  EXPECT_TRUE(list.empty());
}

TEST(List, AnElementGoesToAnotherList) {
  Element one(1);
  List<Element> first, second;
  first.push_back(one);
  second.push_back(first.pop_front());
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(numbers(second), std::vector{1});
  one.unlink();
}

TEST(List, AVisitorMayUnlinkWhatItVisits) {
  std::deque<Element> elements;
  List<Element> list;
  for (int i = 0; i < 10; ++i) list.push_back(elements.emplace_back(i));
  list.each([](Element& element) {
    if (element.number % 2 == 0) element.unlink();
  });
  EXPECT_EQ(numbers(list), (std::vector{1, 3, 5, 7, 9}));
  list.each([](Element& element) { element.unlink(); });
  EXPECT_TRUE(list.empty());
}

TEST(List, IsWhatAStdListWouldBe) {
  std::mt19937 random(1);
  std::deque<Element> elements;
  for (int i = 0; i < 200; ++i) elements.emplace_back(i);
  List<Element> list;
  std::list<int> model;
  for (int step = 0; step < 20'000; ++step) {
    Element& element = elements[random() % elements.size()];
    if (!element.linked()) {
      list.push_back(element);
      model.push_back(element.number);
    } else if (random() % 4 == 0) {
      EXPECT_EQ(list.pop_front().number, model.front());
      model.pop_front();
    } else {
      element.unlink();
      model.remove(element.number);
    }
    ASSERT_EQ(list.empty(), model.empty());
  }
  EXPECT_TRUE(std::ranges::equal(numbers(list), model));
  list.each([](Element& element) { element.unlink(); });
}

}  // namespace
}  // namespace tlsplice::base
