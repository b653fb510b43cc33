// Logs: the message is a constant, facts are fields. error = a person must act; info = a state changed; debug = why.

export type LogFields = Readonly<Record<string, unknown>>;

export interface Logger {
  error(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  debug(message: string, fields?: LogFields): void;
  child(part: string): Logger;
}
