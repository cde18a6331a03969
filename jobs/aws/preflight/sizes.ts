/** Whether model and images are there for the stages, and fit into a node's GPU and onto its disk. */
import { ECRClient } from "@aws-sdk/client-ecr";
import { GPU_TYPES } from "../../../infra/aws/gpuTypes";
import { clusterNameOf } from "../../../infra/aws/names";
import { askHub } from "../../hub";
import { IMAGE_NAMES, imageBytes, placeInEcr, repositoryName, taggedImage } from "../images";
import type { Findings, PreflightArgs } from "../preflight";

/** Measured: 8.03B in bf16 (16 GB) trains with 65 GiB at its peak, and the micro-batches get smaller by themselves. */
const WEIGHTS_OF_MEMORY = 0.7;
/** The base model, the merged one, and a few checkpoints. */
const MODELS_ON_DISK = 2.5;

export async function model({ settings, base, modelBytes }: PreflightArgs): Promise<Partial<Findings>> {
  if (base.startsWith("s3://") && modelBytes === undefined) {
    return { problems: [`model.base: nothing can be read at ${base}: copy the model there, or mend its place`] };
  }
  if (!base.startsWith("hf://")) return fits(settings, modelBytes);
  const answer = await askHub(base);
  if (answer.is === "there") return fits(settings, modelBytes ?? answer.bytes);
  if (answer.is === "refused") return { problems: [`model.base: ${answer.why}; or copy the model to S3: s3://...`] };
  return { warnings: [`model.base: ${answer.why}: nobody knows whether pods will find ${base}`] };
}

function fits({ gpu, pod }: PreflightArgs["settings"], bytes: number | undefined): Partial<Findings> {
  if (bytes === undefined) return {};
  const gib = bytes / 2 ** 30;
  const memory = Math.min(...gpu.instanceTypes.map((type) => GPU_TYPES[type].gpuMemoryGiB));
  const needed = Math.ceil(gib * MODELS_ON_DISK);
  return {
    problems: [
      ...(gib <= memory * WEIGHTS_OF_MEMORY
        ? []
        : [`the base model's weights are ${gib.toFixed(0)} GiB, too many to train on a GPU with ${memory} GiB`]),
      ...(needed <= pod.diskGiB
        ? []
        : [
            `the base model is ${gib.toFixed(0)} GiB, and a stage has ${pod.diskGiB} GiB of disk: raise retort:pod.diskGiB to ${needed}`,
          ]),
    ],
  };
}

/** Layers are kept compressed, and are unpacked beside what came; libraries of CUDA shrink to about a half. */
const UNPACKED = 3;

/** Those that lie in an ECR: named by the stack, or built by it before. Of others nothing is known. */
export async function images({ settings, clients, stack, tags }: PreflightArgs): Promise<Partial<Findings>> {
  const looked = await Promise.all(
    IMAGE_NAMES.map(async (image) => {
      const given = settings.images[image];
      if (given === undefined) {
        return {
          bytes: (await taggedImage(clients.ecr, repositoryName(clusterNameOf(stack), image), tags[image]))?.bytes,
        };
      }
      const place = placeInEcr(given);
      if (!place) return {};
      const bytes = await imageBytes(new ECRClient({ region: place.region }), place);
      return bytes === undefined
        ? { problem: `retort:images.${image}: ${place.repository} has no such image: ${given}` }
        : { bytes };
    }),
  );
  const gib = (looked.reduce((sum, { bytes = 0 }) => sum + bytes, 0) / 2 ** 30) * UNPACKED;
  const disk = Math.min(...settings.gpu.instanceTypes.map((type) => GPU_TYPES[type].diskGiB));
  const room = disk - settings.pod.diskGiB;
  return {
    problems: [
      ...looked.flatMap(({ problem }) => problem ?? []),
      ...(gib <= room
        ? []
        : [`the images take ${gib.toFixed(0)} GiB unpacked, and a node has ${room} GiB beside the stage's own disk`]),
    ],
  };
}
