// Ports whose fakes are a few lines each: they remember what there is, so that a test can see what was left.

import { VmletError } from "../../src/model/failure.ts";
import type { MachineId } from "../../src/model/ids.ts";
import type { Clock } from "../../src/ports/clock.ts";
import type { ConsoleLogRequest, ConsoleLogs } from "../../src/ports/console-log.ts";
import type { Disks, OverlayRequest } from "../../src/ports/disks.ts";
import type { GuestCommand, GuestOutput, Guests, GuestTarget } from "../../src/ports/guest-exec.ts";
import type { GuestFilesystem, GuestFilesystems } from "../../src/ports/guest-filesystems.ts";
import type { HostFiles } from "../../src/ports/host-files.ts";
import type { Logger } from "../../src/ports/logger.ts";
import type { Seed, SeedRequest } from "../../src/ports/seed.ts";
import type { AttachStream, ExecStream, ForwardStream, Streaming } from "../../src/ports/streaming.ts";

export class FakeClock implements Clock {
  now = 1_700_000_000_000;

  nowMs(): number {
    return this.now;
  }
}

export class FakeConsoleLogs implements ConsoleLogs {
  readonly followed = new Map<MachineId, ConsoleLogRequest>();
  readonly reopened: MachineId[] = [];

  async follow(request: ConsoleLogRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.followed.set(request.machineId, request);
  }

  async finish(machineId: MachineId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.followed.delete(machineId);
  }

  async reopen(machineId: MachineId, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.reopened.push(machineId);
  }
}

export class FakeDisks implements Disks {
  readonly overlays = new Map<string, OverlayRequest>();

  async createOverlay(request: OverlayRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.overlays.set(request.path, request);
  }
}

/** Guests without an agent, until a test says what one answers. */
export class FakeGuestFilesystems implements GuestFilesystems {
  /** How often a guest was asked. */
  asked = 0;
  answer: (machineId: MachineId, signal: AbortSignal) => Promise<readonly GuestFilesystem[]> = async (machineId) => {
    throw new VmletError({ code: "AGENT_ABSENT", domain: machineId }, `the guest of ${machineId} has no agent`);
  };

  async of(machineId: MachineId, signal: AbortSignal): Promise<readonly GuestFilesystem[]> {
    this.asked += 1;
    return await this.answer(machineId, signal);
  }
}

/** Guests in which every command prints its own words. */
export class FakeGuests implements Guests {
  readonly captured: { readonly target: GuestTarget; readonly argv: readonly string[] }[] = [];
  /** How a command ends; by default at once, with 0. */
  answer: (argv: readonly string[], signal: AbortSignal) => Promise<number> = async () => 0;

  async capture(
    target: GuestTarget,
    { argv, limitMs }: Omit<GuestCommand, "isTty">,
    asked: AbortSignal,
  ): Promise<GuestOutput> {
    asked.throwIfAborted();
    const signal = limitMs === undefined ? asked : AbortSignal.any([asked, AbortSignal.timeout(limitMs)]);
    this.captured.push({ target, argv });
    const exitCode = await this.answer(argv, signal);
    return { exitCode, stdout: Buffer.from(argv.join(" ")), stderr: Buffer.alloc(0) };
  }
}

export class FakeSeed implements Seed {
  readonly built = new Map<string, SeedRequest>();
  /** What the guest reported, by the report's path. */
  readonly reports = new Map<string, number>();

  async build(request: SeedRequest, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.built.set(request.seedPath, request);
  }

  async readInitReport(initReportPath: string): Promise<number | undefined> {
    return this.reports.get(initReportPath);
  }
}

/** Remembers what was to be opened. */
export class FakeStreaming implements Streaming {
  readonly opened: (ExecStream | AttachStream | ForwardStream)[] = [];

  async exec(stream: ExecStream, signal: AbortSignal): Promise<string> {
    return this.#open("exec", stream, signal);
  }

  async attach(stream: AttachStream, signal: AbortSignal): Promise<string> {
    return this.#open("attach", stream, signal);
  }

  async portForward(stream: ForwardStream, signal: AbortSignal): Promise<string> {
    return this.#open("portforward", stream, signal);
  }

  #open(kind: string, stream: ExecStream | AttachStream | ForwardStream, signal: AbortSignal): string {
    signal.throwIfAborted();
    this.opened.push(stream);
    return `http://127.0.0.1:1/${kind}/token`;
  }
}

export const fakeHostFiles: HostFiles = {
  carry: async ({ containerPath }) =>
    containerPath.startsWith("/dev/")
      ? { is: "left-out", why: "the guest has its own file system there" }
      : { is: "carried", files: [{ guestPath: containerPath, content: Buffer.from("x"), mode: 0o644 }] },
};

/** Keeps nothing; a test that wants the lines takes its own. */
export const silentLog: Logger = {
  error: () => {},
  warn: () => {},
  info: () => {},
  debug: () => {},
  child: () => silentLog,
};
