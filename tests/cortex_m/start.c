/* What a program needs on qemu's mps2-an385 (Arm Cortex-M3) before main: vectors, memory, and files of the host through
 * semihosting: stdin is ./events, stdout ./output. Counts the instructions of every step: under `-icount shift=6` an
 * instruction takes 64 ns, and a tick of the board's timer 40 ns. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define TIMER ((volatile uint32_t *)0x40000000) /* control, value, reload */

extern uint32_t data_in_flash[], data_begin[], data_end[], bss_begin[], bss_end[], stack_top[];
extern void initialise_monitor_handles(void);
int main(int n_arguments, char **arguments);

typedef struct net_net net_net;
int32_t __real_net_step(void *net, const void *events, uint32_t n_events, void *spikes);
int32_t __wrap_net_step(void *net, const void *events, uint32_t n_events, void *spikes);

static uint64_t ticks;

int32_t __wrap_net_step(void *net, const void *events, uint32_t n_events, void *spikes) {
  const uint32_t before = TIMER[1];
  const int32_t n = __real_net_step(net, events, n_events, spikes);
  ticks += before - TIMER[1];
  return n;
}

static void reset(void) {
  static char name[] = "net", trace[] = "trace";
  static char *arguments[] = {name, trace, NULL};
  uint32_t *to = data_begin;
  const uint32_t *from = data_in_flash;
  int code;
  while (to < data_end) *to++ = *from++;
  for (to = bss_begin; to < bss_end; to++) *to = 0;
  initialise_monitor_handles();
  if (!freopen("events", "r", stdin) || !freopen("output", "w", stdout)) exit(3);
  TIMER[2] = TIMER[1] = UINT32_MAX;
  TIMER[0] = 1;
#ifdef SG_TRACE
  code = main(2, arguments);
#else
  code = main(1, arguments);
#endif
  printf("instructions %lu\n", (unsigned long)(ticks * 40 / 64));
  exit(code);
}

static void stop(void) { exit(4); }

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))stack_top, reset, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop, stop};
