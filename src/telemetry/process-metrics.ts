// What Prometheus expects of any process, under the names that it has everywhere.

import { readdirSync, readFileSync } from "node:fs";
import { Counter, Gauge, type Registry } from "prom-client";

/** prom-client's own set has timers that cost more than all of the rest of an idle daemon. */
export function addProcessMetrics(registry: Registry): void {
  const registers = [registry];
  new Counter({
    name: "process_cpu_seconds_total",
    help: "CPU time of the daemon, its threads included; QEMU's is not in it",
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
  const gauge = (name: string, help: string, valueOf: () => number): void => {
    const collect = function (this: Gauge): void {
      this.set(valueOf());
    };
    new Gauge({ name, help, registers, collect });
  };
  gauge("process_start_time_seconds", "When the daemon started, since the epoch", () => performance.timeOrigin / 1000);
  gauge("process_resident_memory_bytes", "Memory of the daemon", () => process.memoryUsage.rss());
  gauge("process_heap_bytes", "Memory of the daemon's JavaScript objects", () => process.memoryUsage().heapUsed);
  gauge("process_open_fds", "Descriptors that are open", () => readdirSync("/proc/self/fd").length);
  gauge("process_max_fds", "Descriptors that may be", maxDescriptors);
}

function maxDescriptors(): number {
  return Number(/^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1] ?? Number.NaN);
}
