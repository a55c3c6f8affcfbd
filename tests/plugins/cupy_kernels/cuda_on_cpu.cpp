// CUDA's words for a CPU, and launches of the kernels written with them.
//
// A group's threads run one after the other, or, where a kernel makes them wait for each other, at
// once: each then has a stack of its own.
#include <cstddef>
#include <functional>
#include <setjmp.h>
#include <type_traits>
#include <ucontext.h>
#include <utility>

struct Index { unsigned x; };
static Index threadIdx, blockIdx, gridDim;
static void wait_for_the_others();

#define __global__
#define __device__
#define __shared__ static
#define __syncthreads() wait_for_the_others()

#include "kernels.h"  // written for this: includes all of them, and names each in KERNELS(EACH)

static std::function<void()> body;
static char stacks[THREADS][1 << 15];
static jmp_buf scheduler, places[THREADS];
static bool done[THREADS];

// Leave a place, to come back to it some time, for another one; without the system call that
// swapcontext makes.
__attribute__((noinline)) static void go(jmp_buf& from, jmp_buf& to) {
    if (!_setjmp(from)) _longjmp(to, 1);
}

static void wait_for_the_others() { go(places[threadIdx.x], scheduler); }

// A thread: it is of one group after the other.
static void work() {
    for (;;) {
        wait_for_the_others();
        body();
        done[threadIdx.x] = true;
    }
}

// To where it waits for its first group.
__attribute__((noinline)) static void start_thread() {
    static ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks[threadIdx.x];
    context.uc_stack.ss_size = sizeof stacks[threadIdx.x];
    makecontext(&context, work, 0);
    if (!_setjmp(scheduler)) setcontext(&context);
}

// Each thread in turn goes on to where it waits for the others, until all are done.
static void run_group() {
    static bool started = false;
    for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) {
        if (!started) start_thread();
        done[threadIdx.x] = false;
    }
    started = true;
    for (bool any = true; any;) {
        any = false;
        for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) {
            if (done[threadIdx.x]) continue;
            go(scheduler, places[threadIdx.x]);
            any = any || !done[threadIdx.x];
        }
    }
}

template <typename... A, size_t... I>
void call(void (*kernel)(A...), void** given, std::index_sequence<I...>) {
    kernel(*static_cast<std::remove_cv_t<A>*>(given[I])...);
}

template <typename... A>
void launch(void (*kernel)(A...), void** given, unsigned groups, bool at_once) {
    body = [=] { call(kernel, given, std::index_sequence_for<A...>()); };
    gridDim.x = groups;
    for (blockIdx.x = 0; blockIdx.x < groups; ++blockIdx.x) {
        if (at_once) run_group();
        else for (threadIdx.x = 0; threadIdx.x < THREADS; ++threadIdx.x) body();
    }
}

#define LAUNCH(NAME)                                                              \
    extern "C" void launch_##NAME(void** given, unsigned groups, bool at_once) {  \
        launch(NAME, given, groups, at_once);                                     \
    }
KERNELS(LAUNCH)

extern "C" size_t size_of_blocks() { return sizeof(Blocks); }
extern "C" size_t size_of_scheme() { return sizeof(Scheme); }
extern "C" size_t size_of_layer() { return sizeof(Layer); }
extern "C" double uniform_at(u64 seed, u64 position) { return uniform(seed, position); }
extern "C" int constant(int which) {
    const int all[] = {HALF_EVEN, GIVEN, HASHED, THREADS, TILE, SUMS};
    return all[which];
}
