// How each RPC finds its runtime. What is not named here goes to the containers' runtime as it came.

/** Lists of things that the router remembers; the name of the repeated field's message. */
export type Kind = "PodSandbox" | "Container" | "Image";

export type Route =
  /** The runtime handler, in field `field` of the request. */
  | { readonly by: "handler"; readonly field: number }
  /** The id in field 1, or the beginning of one. */
  | { readonly by: "id"; readonly of: "PodSandbox" | "Container" }
  /** The image in field 1 (an ImageSpec); a pull also carries its pod, in field 3. */
  | { readonly by: "image" }
  /** Both, and their answers together: what repeats comes one after the other. `kind`: it is remembered. */
  | { readonly by: "list"; readonly kind?: Kind }
  /** Both for as long as the caller listens. */
  | { readonly by: "events" }
  /** Both are told, the containers' runtime answers. */
  | { readonly by: "telling" }
  | { readonly by: "status" }
  | { readonly by: "image-fs" };

const RUNTIME = "/runtime.v1.RuntimeService/";
const IMAGES = "/runtime.v1.ImageService/";

export const LIST_PATH = {
  PodSandbox: `${RUNTIME}ListPodSandbox`,
  Container: `${RUNTIME}ListContainers`,
  Image: `${IMAGES}ListImages`,
} as const satisfies Record<Kind, string>;

export function routeOf(path: string): Route | undefined {
  return ROUTES.get(path);
}

const sandbox: Route = { by: "id", of: "PodSandbox" };
const container: Route = { by: "id", of: "Container" };
const image: Route = { by: "image" };
const list: Route = { by: "list" };

const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  ...under(RUNTIME, {
    RunPodSandbox: { by: "handler", field: 2 },
    StopPodSandbox: sandbox,
    RemovePodSandbox: sandbox,
    PodSandboxStatus: sandbox,
    ListPodSandbox: { by: "list", kind: "PodSandbox" },
    StreamPodSandboxes: { by: "list", kind: "PodSandbox" },
    CreateContainer: sandbox,
    StartContainer: container,
    StopContainer: container,
    RemoveContainer: container,
    ListContainers: { by: "list", kind: "Container" },
    StreamContainers: { by: "list", kind: "Container" },
    ContainerStatus: container,
    UpdateContainerResources: container,
    ReopenContainerLog: container,
    ExecSync: container,
    Exec: container,
    Attach: container,
    PortForward: sandbox,
    ContainerStats: container,
    ListContainerStats: list,
    StreamContainerStats: list,
    PodSandboxStats: sandbox,
    ListPodSandboxStats: list,
    StreamPodSandboxStats: list,
    UpdateRuntimeConfig: { by: "telling" },
    Status: { by: "status" },
    CheckpointContainer: container,
    GetContainerEvents: { by: "events" },
    ListMetricDescriptors: list,
    ListPodSandboxMetrics: list,
    StreamPodSandboxMetrics: list,
    UpdatePodSandboxResources: sandbox,
    CheckpointPod: sandbox,
    RestorePod: { by: "handler", field: 3 },
  }),
  ...under(IMAGES, {
    ListImages: { by: "list", kind: "Image" },
    StreamImages: { by: "list", kind: "Image" },
    ImageStatus: image,
    PullImage: image,
    RemoveImage: image,
    ImageFsInfo: { by: "image-fs" },
  }),
]);

function under(service: string, routes: Readonly<Record<string, Route>>): [string, Route][] {
  return Object.entries(routes).map(([name, route]) => [service + name, route]);
}
