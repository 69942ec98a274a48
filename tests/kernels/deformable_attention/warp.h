// The lanes of a warp on the host: each has a stack of its own and runs until it asks another lane, then the next one
// does. So lanes that share work run the text of the GPU kernel, without a GPU.
#pragma once

#include <ucontext.h>

#include <cstring>
#include <functional>
#include <type_traits>
#include <vector>

#include "device.h"

namespace hyperseg {

constexpr int kWarp = 32;

class Warp {
 public:
  static Warp* current;

  // Runs work(lane) for all lanes; they have to ask equally often.
  void run(const std::function<void(int)>& work) {
    current = this;
    work_ = &work;
    running_ = kWarp;
    for (int lane = 0; lane < kWarp; ++lane) {
      ended_[lane] = false;
      asked_[lane] = 0;
      getcontext(&lanes_[lane]);
      lanes_[lane].uc_stack = {stacks_[lane].data(), 0, stacks_[lane].size()};
      lanes_[lane].uc_link = &scheduler_;
      makecontext(&lanes_[lane], &Warp::begin, 0);
    }
    while (running_ > 0)
      for (lane_ = 0; lane_ < kWarp; ++lane_)
        if (!ended_[lane_]) swapcontext(&scheduler_, &lanes_[lane_]);
  }

  // What lane `other` gave at the same time. Two tables: nobody is two questions ahead.
  unsigned exchange(unsigned bits, int other) {
    const int lane = lane_, table = asked_[lane]++ % 2;
    given_[table][lane] = bits;
    swapcontext(&lanes_[lane], &scheduler_);
    return given_[table][other];
  }

  int lane() const { return lane_; }

 private:
  static void begin() {
    Warp* warp = current;
    const int lane = warp->lane_;
    (*warp->work_)(lane);
    warp->ended_[lane] = true;
    --warp->running_;
  }

  const std::function<void(int)>* work_ = nullptr;
  int lane_ = 0, running_ = 0;
  bool ended_[kWarp] = {};
  int asked_[kWarp] = {};
  unsigned given_[2][kWarp] = {};
  ucontext_t scheduler_ = {}, lanes_[kWarp] = {};
  std::vector<std::vector<char>> stacks_{kWarp, std::vector<char>(64 * 1024)};
};
inline Warp* Warp::current = nullptr;

template <int kLanes, class Value>
Value shuffled(Value value, int lane) {
  Warp& warp = *Warp::current;
  return bits_as<Value>(warp.exchange(bits_as<unsigned>(value), warp.lane() / kLanes * kLanes + lane));
}

}  // namespace hyperseg
