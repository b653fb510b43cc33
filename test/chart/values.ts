// Values with which the chart is rendered: all combinations of what changes its structure, and some by name for goldens.

type Values = Readonly<Record<string, unknown>>;

const set = (values: Values): readonly Values[] => [{}, values];

/** One of each row; a row has every form that a part of the chart takes. These shape the DaemonSet and the metrics together. */
const NODE: readonly (readonly Values[])[] = [
  [{}, { router: { mode: "remove" } }, { router: { mode: "none" } }],
  [
    {},
    { metrics: { address: "0.0.0.0" } },
    { metrics: { address: "[::]", serviceMonitor: { enabled: true } } },
    { metrics: { address: "0.0.0.0", serviceMonitor: { enabled: true, labels: { release: "prometheus" } } } },
    { metrics: { dashboard: { enabled: true } } },
    { metrics: { address: "0.0.0.0", serviceMonitor: { enabled: true }, dashboard: { enabled: true, labels: {} } } },
  ],
  [{}, { serviceAccount: { create: false } }, { serviceAccount: { create: false, name: "own" } }],
  set({ image: { pullSecrets: ["registry"], digest: `sha256:${"0".repeat(64)}` } }),
  set({ tolerations: [{ key: "dedicated", operator: "Exists" }], affinity: { nodeAffinity: {} } }),
  set({ host: { cniFolders: [] } }),
];

/** Each of these shapes a file of its own. */
const ALONE: readonly (readonly Values[])[] = [
  set({ networkPolicy: { enabled: false } }),
  [{}, { runtimeClass: { create: false } }, { runtimeClass: { tolerations: [{ operator: "Exists" }] } }],
  set({ test: { enabled: false } }),
  set({ nodeSelector: { "vmlet.dev/node": null } }),
];

export const combinations = (): Values[] => [...product(NODE), ...product(ALONE)];

function product(switches: readonly (readonly Values[])[]): Values[] {
  return switches.reduce<Values[]>(
    (all, forms) => all.flatMap((values) => forms.map((form) => ({ ...values, ...form }))),
    [{}],
  );
}

const translation = {
  name: "vmlet.dev/debian",
  url: "https://images.example.org/debian-12.qcow2",
  sha256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
};

export const GOLDENS: Readonly<Record<string, Values>> = {
  default: {},
  remove: { router: { mode: "remove" } },
  everything: {
    image: { repository: "registry.example.org/vmlet", digest: `sha256:${"0".repeat(64)}`, pullSecrets: ["registry"] },
    kvm: "required",
    nodeSelector: { "example.org/machines": "yes" },
    tolerations: [{ key: "dedicated", operator: "Exists" }],
    affinity: { nodeAffinity: {} },
    config: {
      logLevel: "debug",
      router: { handlers: ["machine", "vmlet"] },
      stateFolderPath: "/data/vmlet",
      images: { translations: [translation] },
      libvirt: { tcgCacheMiB: 64 },
    },
    domainTemplates: { windows: "<domain/>" },
    runtimeClass: { tolerations: [{ operator: "Exists" }], overhead: { memory: "128Mi", cpu: 0.1 } },
    resources: { vmlet: { limits: { cpu: 2 } } },
    metrics: { address: "0.0.0.0", serviceMonitor: { enabled: true, labels: { release: "p" } } },
    serviceAccount: { annotations: { "example.org/owner": "machines" } },
    host: { cniBinFolder: "/usr/libexec/cni", cniFolders: ["/var/lib/cni"] },
  },
  bare: {
    kvm: "none",
    router: { mode: "none" },
    runtimeClass: { create: false },
    serviceAccount: { create: false },
    networkPolicy: { enabled: false },
    test: { enabled: false },
    host: { cniFolders: [] },
  },
};

export const REFUSED: readonly { readonly values: Values; readonly saying: RegExp }[] = [
  { values: { config: { logLevl: "debug" } }, saying: /logLevl/ },
  { values: { config: { libvirt: { tcgCacheMiB: 0 } } }, saying: /tcgCacheMiB/ },
  { values: { config: { socketPath: "/run/other.sock" } }, saying: /socketPath/ },
  { values: { config: { runFolderPath: "/run/other" } }, saying: /runFolderPath/ },
  { values: { config: { router: { socketPath: "/run/other.sock" } } }, saying: /socketPath/ },
  { values: { config: { router: { stateFolderPath: "/data/router" } } }, saying: /stateFolderPath/ },
  { values: { config: { stateFolderPath: "/data/a, b" } }, saying: /stateFolderPath/ },
  { values: { kvm: "maybe" }, saying: /kvm/ },
  { values: { routr: {} }, saying: /routr/ },
  { values: { image: { digest: "latest" } }, saying: /digest/ },
  { values: { domainTemplates: { "../linux": "<domain/>" } }, saying: /linux/ },
  { values: { host: { programFolder: "/opt/$(reboot)" } }, saying: /programFolder/ },
  { values: { metrics: { serviceMonitor: { enabled: true } } }, saying: /metrics\.address/ },
];
