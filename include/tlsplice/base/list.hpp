// An intrusive doubly linked list: no allocation, O(1) removal by the element itself. Elements derive from
// ListNode<T> (neither copied nor moved while linked) and must leave the list before they die.
#pragma once

#include "tlsplice/base/expect.hpp"

namespace tlsplice::base {

template <typename T>
class List;

template <typename T>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { TLSPLICE_EXPECT(!linked(), "a list element died while still in its list"); }

  bool linked() const { return next_ != nullptr; }
  void unlink() {
    if (!linked()) return;
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = next_ = nullptr;
  }

 private:
  friend class List<T>;
  ListNode* prev_ = nullptr;
  ListNode* next_ = nullptr;
};

template <typename T>
class List {
 public:
  List() { head_.prev_ = head_.next_ = &head_; }
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    TLSPLICE_EXPECT(empty(), "a list died before its elements left it");
    head_.prev_ = head_.next_ = nullptr;
  }

  bool empty() const { return head_.next_ == &head_; }
  void push_back(T& element) {
    ListNode<T>& node = element;
    TLSPLICE_EXPECT(!node.linked(), "an element can be in one list only");
    node.prev_ = head_.prev_;
    node.next_ = &head_;
    head_.prev_->next_ = &node;
    head_.prev_ = &node;
  }
  /// Puts `element` behind `place`, which is in this list.
  void insert_after(T& place, T& element) {
    ListNode<T>& before = place;
    ListNode<T>& node = element;
    TLSPLICE_EXPECT(before.linked() && !node.linked(), "an element can be in one list only");
    node.prev_ = &before;
    node.next_ = before.next_;
    before.next_->prev_ = &node;
    before.next_ = &node;
  }
  /// The element behind this one; null at the end.
  T* after(T& element) {
    ListNode<T>* const next = static_cast<ListNode<T>&>(element).next_;
    return next == &head_ ? nullptr : static_cast<T*>(next);
  }
  void push_front(T& element) {
    ListNode<T>& node = element;
    TLSPLICE_EXPECT(!node.linked(), "an element can be in one list only");
    node.prev_ = &head_;
    node.next_ = head_.next_;
    head_.next_->prev_ = &node;
    head_.next_ = &node;
  }
  T& front() { return static_cast<T&>(*head_.next_); }
  T& pop_front() {
    T& element = front();
    static_cast<ListNode<T>&>(element).unlink();
    return element;
  }
  /// Calls `visit` on each element; `visit` may unlink the element it is given, and no other.
  template <typename Visit>
  void each(Visit visit) {
    for (ListNode<T>* node = head_.next_; node != &head_;) {
      ListNode<T>* const next = node->next_;
      visit(static_cast<T&>(*node));
      node = next;
    }
  }

 private:
  ListNode<T> head_;
};

}  // namespace tlsplice::base
