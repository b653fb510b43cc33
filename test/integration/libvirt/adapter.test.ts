import { hypervisorContract } from "../../contract/hypervisor.contract.ts";
import { openLibvirtBench } from "./libvirt-bench.ts";

hypervisorContract("libvirt", () => openLibvirtBench());
