// Sharing work among the threads that PyTorch has already: a second team would spin against the first.
#pragma once

namespace {

// libgomp's GOMP_parallel, which LLVM's and Intel's OpenMP have too: function(data) in each of `threads` threads.
using Parallel = void (*)(void (*function)(void *), void *data, unsigned threads, unsigned flags);

struct Team {
  long threads;
  Parallel parallel;
  int (*number)(); // omp_get_thread_num of the same OpenMP
  float *scratch;
  long pitch; // floats from the scratch of one thread to that of the next
};

template <typename Work> struct Shared {
  const Team &team;
  const Work &work;
  long count, items_taken;

  // Items that follow each other, as what is near one is near the next; ever fewer, so that no thread waits for long
  // ("guided", as OpenMP calls it).
  void take_items(float *scratch) {
    long item = 0, next = -1;
    while (item < count) {
      const long some = (count - item) / (2 * team.threads), end = item + (some ? some : 1);
      if (!__atomic_compare_exchange_n(&items_taken, &item, end, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
      for (; item < end; next = ++item) work(item, scratch, item == next);
    }
  }

  // Scratch goes by OpenMP's number and not by who comes first: so it stays in a core's cache, and in its memory where
  // not all memory is equally near, from one call to the next.
  static void join(void *data) {
    Shared &shared = *static_cast<Shared *>(data);
    shared.take_items(shared.team.scratch + shared.team.number() * shared.team.pitch);
  }
};

// work(item, scratch, follows) for each of `count` items, in any order. follows: whether the item before it was the
// last one that this thread did in this call, in this scratch. All threads are asked for even where there are fewer
// items: libgomp ends threads that a smaller team leaves out, and starts them again.
template <typename Work> void share(long count, const Team &team, const Work &work) {
  Shared<Work> shared{team, work, count, 0};
  if (team.threads > 1 && count > 1)
    team.parallel(Shared<Work>::join, &shared, static_cast<unsigned>(team.threads), 0);
  else
    shared.take_items(team.scratch);
}

} // namespace
