// Sharing work among the threads that PyTorch has already: a second team would spin against the first.
#pragma once

namespace {

// libgomp's GOMP_parallel, which LLVM's and Intel's OpenMP have too: function(data) in each of `threads` threads.
using Parallel = void (*)(void (*function)(void *), void *data, unsigned threads, unsigned flags);

template <typename Work> struct Shared {
  const Work &work;
  long count, items_taken, workers_named;

  static void join(void *data) {
    Shared &shared = *static_cast<Shared *>(data);
    const long worker = __atomic_fetch_add(&shared.workers_named, 1, __ATOMIC_RELAXED);
    for (;;) {
      const long item = __atomic_fetch_add(&shared.items_taken, 1, __ATOMIC_RELAXED);
      if (item >= shared.count) return;
      shared.work(item, worker);
    }
  }
};

// work(item, worker) for each of `count` items, by workers 0 to threads - 1 at most, in any order. All threads are
// asked for even where there are fewer items: libgomp ends threads that a smaller team leaves out, and starts them
// again.
template <typename Work> void share(long count, long threads, Parallel parallel, const Work &work) {
  Shared<Work> shared{work, count, 0, 0};
  if (parallel && threads > 1 && count > 1)
    parallel(Shared<Work>::join, &shared, static_cast<unsigned>(threads), 0);
  else
    Shared<Work>::join(&shared);
}

} // namespace
