/** Hears of what a person wants to count. Must not throw and must return at once. */
export interface Observer {
  /** An operation failed, and so did taking back what it had done: something is left, and is tried again later. */
  undoFailed(operation: "run-pod" | "create-machine" | "start-machine"): void;
}
