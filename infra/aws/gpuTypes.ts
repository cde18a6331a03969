/** The instance types with H100s that a pool may use, as AWS describes them. Pure data, for checks and for prices. */

export interface GpuType {
  readonly gpus: number;
  readonly gpuMemoryGiB: number;
  /** What it counts against the account's vCPU quota. */
  readonly vcpus: number;
  readonly memoryGiB: number;
  /** Local NVMe: images, models and checkpoints lie there. */
  readonly diskGiB: number;
}

const eight = { gpus: 8, vcpus: 192, memoryGiB: 2048, diskGiB: 28_000 };

/** No 4xlarge of p5e or p5en exists. */
export const GPU_TYPES = {
  "p5.4xlarge": { gpus: 1, gpuMemoryGiB: 80, vcpus: 16, memoryGiB: 256, diskGiB: 3_500 },
  "p5.48xlarge": { ...eight, gpuMemoryGiB: 80 },
  "p5e.48xlarge": { ...eight, gpuMemoryGiB: 141 },
  "p5en.48xlarge": { ...eight, gpuMemoryGiB: 141 },
} as const satisfies Record<string, GpuType>;

export type GpuTypeName = keyof typeof GPU_TYPES;
export const GPU_TYPE_NAMES = Object.keys(GPU_TYPES) as [GpuTypeName, ...GpuTypeName[]];
