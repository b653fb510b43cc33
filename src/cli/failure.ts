// What goes wrong with a command, as a person is told.

/** The message is one line for people, and fit for a terminal. */
export class CliFailure extends Error {
  override readonly name = "CliFailure";
  /** gRPC's name for it, `NOT_FOUND`; absent: the daemon was not even asked. */
  readonly code: string | undefined;

  constructor(message: string, code?: string) {
    super(message);
    this.code = code;
  }
}
