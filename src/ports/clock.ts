// Time, so that tests can hold it still.

export interface Clock {
  /** Milliseconds since the epoch. */
  nowMs(): number;
}
