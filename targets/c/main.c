/* Read samples, print spikes and decisions.
 *
 * stdin: a line of text for each step: the input lines that spike, as LINE or LINE:VALUE, with blanks between; an empty
 * line where nothing spikes. NETWORK_N_STEPS lines are a sample, and samples follow each other.
 * stdout: `spikes SAMPLE STEP OUTPUT NEURON…`, `v SAMPLE STEP OUTPUT V…` for outputs of potentials, and for each sample
 * `class SAMPLE CLASS STEP`, or `undecided SAMPLE CLASS STEP`.
 *
 * With -DSG_TRACE, main FILE writes three int32 for each step, population and neuron into FILE: s, u, v after reset.
 */
#include <stdio.h>
#include <stdlib.h>

#include "network.h"

static network_net net;
static network_event events[NETWORK_N_LINES];
static network_spike spikes[NETWORK_MAX_SPIKES];
static const char *const output_names[] = NETWORK_OUTPUT_NAMES;
static const uint32_t output_sizes[] = NETWORK_OUTPUT_SIZES;
static const char output_variables[] = NETWORK_OUTPUT_VARIABLES;
static unsigned long sample, step;

#ifdef SG_TRACE
static FILE *trace;

void network_trace(uint32_t population, uint32_t neuron, int32_t s, int32_t u, int32_t v) {
  const int32_t record[3] = {s, u, v};
  (void)population;
  (void)neuron;
  if (fwrite(record, sizeof record, 1, trace) != 1) {
    fprintf(stderr, "cannot write the trace\n");
    exit(1);
  }
}
#endif

static void fail(const char *what) {
  fflush(stdout);
  fprintf(stderr, "sample %lu, step %lu: %s\n", sample, step, what);
  exit(2);
}

/* A number of at most six digits; the character behind it stays in *c. */
static long number(int *c) {
  long value = 0;
  if (*c < '0' || *c > '9') fail("expected a number");
  for (; *c >= '0' && *c <= '9'; *c = getchar()) {
    value = value * 10 + (*c - '0');
    if (value > 9999999) fail("a number is too large");
  }
  return value;
}

/* Read the events of a step; -1 where there are no more. */
static long read_step(void) {
  uint32_t n = 0;
  int c = getchar();
  if (c == EOF) return -1;
  while (c != '\n' && c != EOF) {
    long line, value = 1;
    if (c == ' ' || c == '\t' || c == '\r') {
      c = getchar();
      continue;
    }
    line = number(&c);
    if (c == ':') {
      int minus = (c = getchar()) == '-';
      if (minus) c = getchar();
      value = number(&c);
      if (minus) value = -value;
    }
    if (line >= (long)NETWORK_N_LINES) fail("there is no such line");
    if (value < -32768 || value > 32767) fail("a value is too large");
    if (n == NETWORK_N_LINES) fail("there are more events than lines");
    events[n].line = (network_index)line;
    events[n++].value = (int16_t)value;
  }
  return (long)n;
}

static void print_step(int32_t n) {
  uint32_t k, i;
  int32_t at = 0;
  for (k = 0; k < NETWORK_N_OUTPUTS; k++) {
    if (output_variables[k] == 'v') {
      printf("v %lu %lu %s", sample, step, output_names[k]);
      for (i = 0; i < output_sizes[k]; i++) printf(" %ld", (long)network_v(&net, k, i));
      printf("\n");
    } else if (at < n && spikes[at].output == k) {
      printf("spikes %lu %lu %s", sample, step, output_names[k]);
      for (; at < n && spikes[at].output == k; at++) printf(" %lu", (unsigned long)spikes[at].neuron);
      printf("\n");
    }
  }
}

static void print_decision(void) {
#if NETWORK_READOUT
  const network_decision decision = network_decide(&net);
  printf("%s %lu %lu %lu\n", decision.decided ? "class" : "undecided", sample, (unsigned long)decision.predicted,
         (unsigned long)decision.step);
#endif
}

int main(int n_arguments, char **arguments) {
#ifdef SG_TRACE
  if (n_arguments != 2 || !(trace = fopen(arguments[1], "wb"))) {
    fprintf(stderr, "name a file for the trace\n");
    return 2;
  }
#else
  if (n_arguments > 1) {
    fprintf(stderr, "%s: takes no argument; events come on stdin\n", arguments[1]);
    return 2;
  }
#endif
  for (;; sample++) {
    network_reset(&net);
    for (step = 0; step < NETWORK_N_STEPS; step++) {
      const long n_events = read_step();
      int32_t n;
      if (n_events < 0 && step == 0) break;
      if (n_events < 0) fail("the input ends within a sample");
      n = network_step(&net, events, (uint32_t)n_events, spikes);
      if (n == NETWORK_NO_SUCH_VALUE) fail("a value leaves what the input may carry");
      if (n == NETWORK_LINE_TWICE) fail("a line spikes twice");
      if (n < 0) fail("the step was refused");
      print_step(n);
    }
    if (step == 0) break;
    print_decision();
  }
#ifdef SG_TRACE
  if (fclose(trace)) return 1;
#endif
  return ferror(stdin) || fflush(stdout) ? 1 : 0;
}
