/* Rows of the tables that describe a network. */

typedef NETWORK_OFFSET offset; /* into synapses, or among the targets of one spike */

enum { DENSE, WINDOW, SPARSE, ONE_TO_ONE };
enum { NO_READOUT, COUNT, MEMBRANE, FIRST_SPIKE };

typedef struct { /* one kernel row or column that a source row or column meets */
  offset target, weight;
} tap;

typedef struct { /* an input or a population; its spikes of step t are in slot t % n_slots */
  uint32_t n, n_words, n_slots;
  uint32_t first_word, first_value;
  uint32_t graded;
} source;

typedef struct {
  uint32_t first_line, source;
  int32_t min_value, max_value;
} input;

typedef struct {
  uint32_t kind, source, delay;
  uint32_t left, right; /* how its sum is shifted; to the right, with a sum of its own */
  uint32_t apart;       /* that sum cannot be the population's own */
  uint32_t weight_bytes;
  const void *weight;
  uint32_t run;   /* weights of a DENSE source neuron, or of a tap; ONE_TO_ONE: neurons that share a weight */
  uint32_t plane; /* WINDOW: targets from channel to channel */
  uint32_t width, area; /* WINDOW: of a source channel */
  uint32_t group, channel_weights; /* WINDOW: source channels of a group; weights of a source channel */
  const offset *row_begin, *column_begin; /* WINDOW: taps of a row, of a column; SPARSE: synapses of a neuron */
  const tap *rows, *columns;
  const network_index *targets; /* SPARSE */
} projection;

typedef struct { /* a parameter: each value times 2^shift */
  const void *value;
  uint32_t bytes, shift;
  uint32_t per_channel, per_neuron;
} parameter;

typedef struct {
  uint32_t n_channels, area, source;
  uint32_t first_neuron, first_current, first_held, first_counted;
  uint32_t remembers, holds, counts; /* its u outlasts the step; it may be held; its spikes are limited */
  uint32_t read; /* by the readout */
  uint32_t left; /* shift of the whole sum */
  uint32_t first_projection, n_projections;
  parameter keep_u, keep_v, threshold, bias;
  int32_t keep_mask, sub_mask, pause, max_spikes;
} population;

typedef struct {
  uint32_t population, of_spikes;
} output;

typedef struct {
  uint32_t population, per_class, weight;
} reading;
