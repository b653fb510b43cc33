// CRI's pod sandbox <-> our Pod.

import { isIP } from "node:net";
import { isAbsolute } from "node:path";
import {
  type PortMapping as CriPortMapping,
  NamespaceMode,
  type PodSandbox,
  type PodSandboxConfig,
  type PodSandboxFilter,
  type PodSandboxMetadata,
  PodSandboxState,
  type PodSandboxStatus,
  Protocol,
} from "../gen/runtime.ts";
import { invalid } from "../model/failure.ts";
import type { PodSpec, PortMapping } from "../model/pod.ts";
import type { BrokenRecord, PodRecord } from "../ports/pod-store.ts";
import { isPath, matchesLabels, nameOf, nanosOf, quoted, required, resourcesOf } from "./convert-shared.ts";

/**
 * The empty handler is ours as well: it is the default when we are the kubelet's endpoint ourselves.
 * @param handlers Those of `router.handlers`.
 * @throws SPEC_INVALID naming the field for what is missing, malformed, or impossible for a VM.
 */
export function podSpecOf(config: PodSandboxConfig, runtimeHandler: string, handlers: readonly string[]): PodSpec {
  const metadata = required(config.metadata, "config.metadata");
  if (runtimeHandler !== "" && !handlers.includes(runtimeHandler)) {
    const known = handlers.map(quoted).join(", ");
    throw invalid("runtime_handler", `${quoted(runtimeHandler)} is not known here; router.handlers has ${known}`);
  }
  const logFolderPath = config.logDirectory;
  if (logFolderPath !== "" && !(isAbsolute(logFolderPath) && isPath(logFolderPath)))
    throw invalid("config.log_directory", `${quoted(logFolderPath)} must be an absolute path of at most 4095 bytes`);
  return {
    name: podNameOf(metadata.name, "config.metadata.name"),
    namespace: podNameOf(metadata.namespace, "config.metadata.namespace"),
    uid: podNameOf(metadata.uid, "config.metadata.uid"),
    attempt: metadata.attempt,
    hostname: config.hostname === "" ? hostnameFrom(metadata.name) : hostnameOf(config.hostname),
    logFolderPath,
    dns: dnsOf(config),
    portMappings: config.portMappings.flatMap(portMappingOf),
    labels: config.labels,
    annotations: config.annotations,
    runtimeHandler,
    pidMode: pidModeOf(config),
    sysctls: sysctlsOf(config.linux?.sysctls ?? {}),
    cgroupParent: config.linux?.cgroupParent ?? "",
    overhead: resourcesOf(config.linux?.overhead, "config.linux.overhead"),
  };
}

function podNameOf(value: string, field: string): string {
  const name = nameOf(value, field);
  if (!/[;=]/.test(name)) return name;
  throw invalid(field, `${quoted(name)} has ; or =, which part the arguments of CNI plugins`);
}

/** Words of resolv.conf: one with white space would read as two. */
function dnsOf({ dnsConfig }: PodSandboxConfig): PodSpec["dns"] {
  const words = (name: "servers" | "searches" | "options"): readonly string[] => {
    const values = dnsConfig?.[name] ?? [];
    const index = values.findIndex((value) => !/^[\x21-\x7e]{1,253}$/.test(value));
    if (index < 0) return values;
    throw invalid(
      `config.dns_config.${name}[${index}]`,
      `${quoted(values[index] ?? "")} is not one word of ASCII as in resolv.conf`,
    );
  };
  return { servers: words("servers"), searches: words("searches"), options: words("options") };
}

function pidModeOf(config: PodSandboxConfig): "pod" | "container" {
  const security = config.linux?.securityContext;
  const namespaces = security?.namespaceOptions;
  const field = "config.linux.security_context";
  const refuse = (name: string, podField: string): never => {
    throw invalid(`${field}.namespace_options.${name}`, `a VM has its own kernel: ${podField} is not possible`);
  };
  if (namespaces?.network === NamespaceMode.NODE) refuse("network", "hostNetwork: true");
  if (namespaces?.pid === NamespaceMode.NODE) refuse("pid", "hostPID: true");
  if (namespaces?.ipc === NamespaceMode.NODE) refuse("ipc", "hostIPC: true");
  if (namespaces?.usernsOptions?.mode === NamespaceMode.POD) refuse("userns_options", "hostUsers: false");
  return namespaces?.pid === NamespaceMode.CONTAINER ? "container" : "pod";
}

/**
 * Names as Kubernetes takes them: with dots, or with slashes where a part has a dot of its own (`net/ipv4/conf/eth0.1`).
 * What the guest's kernel makes of them is its own affair.
 */
function sysctlsOf(sysctls: Readonly<Record<string, string>>): Record<string, string> {
  const paths = Object.entries(sysctls).map(([name, value]) => {
    const field = `config.linux.sysctls[${quoted(name)}]`;
    const firstSeparator = /[./]/.exec(name)?.[0];
    const path = firstSeparator === "/" ? name : name.replace(/[./]/g, (separator) => (separator === "." ? "/" : "."));
    if (name.length > MAX_SYSCTL_NAME || !/^[a-zA-Z0-9_-]+(?:\/(?!\.)[a-zA-Z0-9_.-]+)+$/.test(path))
      throw invalid(field, "is not the name of a sysctl");
    if (value.length > MAX_SYSCTL_VALUE || /[\0\n]/.test(value))
      throw invalid(field, "has a value that is not one line");
    return [path, value];
  });
  return Object.fromEntries(paths);
}

const MAX_SYSCTL_NAME = 253;
/** A page is what the kernel reads. */
const MAX_SYSCTL_VALUE = 4095;

const HOSTNAME_LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
const HOSTNAME = new RegExp(`^${HOSTNAME_LABEL}(\\.${HOSTNAME_LABEL})*$`);

/** RFC 1123 as far as a guest needs it; a name that is none is a clear error and not a broken guest. */
function hostnameOf(hostname: string): string {
  if (hostname.length <= 253 && HOSTNAME.test(hostname)) return hostname;
  throw invalid("config.hostname", `${quoted(hostname)} is not a host name`);
}

/** Of a pod that names none: cut to one label's length, as the kubelet does before it names one. */
function hostnameFrom(podName: string): string {
  const cut = podName
    .replace(/[^a-zA-Z0-9.-]/g, "-")
    .slice(0, 63)
    .replace(/^[-.]+|[-.]+$/g, "");
  return HOSTNAME.test(cut) ? cut : "vm";
}

/** None for a port that the node does not open. */
function portMappingOf(mapping: CriPortMapping, index: number): readonly PortMapping[] {
  if (mapping.hostPort === 0) return [];
  const field = `config.port_mappings[${index}]`;
  for (const [name, port] of [
    ["container_port", mapping.containerPort],
    ["host_port", mapping.hostPort],
  ] as const) {
    if (port < 1 || port > 65_535) throw invalid(`${field}.${name}`, `${port} is not a port`);
  }
  const { containerPort, hostPort, hostIp } = mapping;
  const isAddress = isIP(hostIp) !== 0 && !hostIp.includes("%"); // with a zone no plugin takes it
  if (hostIp !== "" && !isAddress) throw invalid(`${field}.host_ip`, `${quoted(hostIp)} is not an IP address`);
  return [{ protocol: protocolOf(mapping.protocol, field), containerPort, hostPort, hostIp }];
}

function protocolOf(protocol: Protocol, field: string): PortMapping["protocol"] {
  switch (protocol) {
    case Protocol.TCP:
      return "tcp";
    case Protocol.UDP:
      return "udp";
    case Protocol.SCTP:
      return "sctp";
    default:
      throw invalid(`${field}.protocol`, `${String(protocol)} is not known`);
  }
}

function metadataOf({ name, namespace, uid, attempt }: PodSpec): PodSandboxMetadata {
  return { name, namespace, uid, attempt };
}

/** With a record that cannot be read, its own or a machine's, a pod is not ready: the kubelet then replaces it. */
function sandboxStateOf({ state }: PodRecord, broken: BrokenRecord | undefined): PodSandboxState {
  return state.at === "ready" && !broken ? PodSandboxState.SANDBOX_READY : PodSandboxState.SANDBOX_NOTREADY;
}

export function podSandboxOf(record: PodRecord, broken?: BrokenRecord): PodSandbox {
  const { podId, spec, createdAtMs } = record.facts;
  return {
    id: podId,
    metadata: metadataOf(spec),
    state: sandboxStateOf(record, broken),
    createdAt: nanosOf(createdAtMs),
    labels: spec.labels,
    annotations: spec.annotations,
    runtimeHandler: spec.runtimeHandler,
  };
}

/** A pod whose record cannot be read is still there to be stopped and removed. */
export function brokenPodSandboxOf({ podId, error }: BrokenRecord): PodSandbox {
  return {
    id: podId,
    metadata: { name: "unreadable", namespace: "vmlet", uid: podId, attempt: 0 },
    state: PodSandboxState.SANDBOX_NOTREADY,
    createdAt: 1n, // the kubelet refuses 0
    labels: {},
    annotations: { "vmlet.dev/error": error },
    runtimeHandler: "vmlet",
  };
}

export function podSandboxStatusOf(record: PodRecord, broken?: BrokenRecord): PodSandboxStatus {
  const { spec } = record.facts;
  const attachment = "attachment" in record.state ? record.state.attachment : undefined;
  const ips = (attachment?.addresses ?? []).map(({ address }) => ({ ip: address }));
  return {
    ...podSandboxOf(record, broken),
    network: { ip: ips[0]?.ip ?? "", additionalIps: ips.slice(1) },
    linux: {
      namespaces: {
        options: {
          network: NamespaceMode.POD,
          pid: spec.pidMode === "pod" ? NamespaceMode.POD : NamespaceMode.CONTAINER,
          ipc: NamespaceMode.POD,
          targetId: "",
          usernsOptions: undefined,
        },
      },
    },
  };
}

export function matchesPodFilter(pod: PodSandbox, filter: PodSandboxFilter | undefined): boolean {
  if (!filter) return true;
  if (filter.id !== "" && filter.id !== pod.id) return false;
  if (filter.state && filter.state.state !== pod.state) return false;
  return matchesLabels(pod.labels, filter.labelSelector);
}
