import type { ListMetricDescriptorsRequest, ListMetricDescriptorsResponse } from "../gen/runtime.ts";
import type { Unary } from "./handler.ts";
import { metricDescriptors } from "./metrics.ts";

export const listMetricDescriptors = (): Unary<ListMetricDescriptorsRequest, ListMetricDescriptorsResponse> => () => ({
  descriptors: metricDescriptors(),
});
