/** What a hub of models says of one: whether that revision is there, whether everybody may have it, and how big it is. */
import { z } from "zod";

export type HubAnswer =
  /** Bytes of the weights; undefined if the hub does not say. */
  | { readonly is: "there"; readonly bytes: number | undefined }
  /** No such model or revision, or not for everybody: pods have no token. */
  | { readonly is: "refused"; readonly why: string }
  /** Nobody knows: the hub did not answer, or not now. */
  | { readonly is: "silent"; readonly why: string };

const Model = z.object({
  gated: z.union([z.boolean(), z.string()]).optional(),
  siblings: z.array(z.object({ rfilename: z.string(), size: z.number().optional() })).default([]),
});

const PATIENCE_MS = 10_000;

/** Asks without a token, as a pod does. `base` is hf://OWNER/NAME@REVISION; HF_ENDPOINT names another hub. */
export async function askHub(base: string): Promise<HubAnswer> {
  const [, name = "", revision = "main"] = /^hf:\/\/([^@]+)(?:@(.+))?$/.exec(base) ?? [];
  const hub = (process.env["HF_ENDPOINT"] || "https://huggingface.co").replace(/\/+$/, "");
  const url = `${hub}/api/models/${name}/revision/${encodeURIComponent(revision)}?blobs=true`;
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
    if (response.status === 404) return { is: "refused", why: `${hub} has no ${name}, or not at ${revision}` };
    if (response.status === 401 || response.status === 403) {
      return { is: "refused", why: `${hub} has no ${name} for everybody: it is private, or its name is wrong` };
    }
    if (!response.ok) return { is: "silent", why: `${hub} answers ${response.status}` };
    const { gated, siblings } = Model.parse(await response.json());
    if (gated) return { is: "refused", why: `${name} is gated: its files need a token, and pods have none` };
    return { is: "there", bytes: weights(siblings) };
  } catch (error) {
    const { message, cause } = error as Error & { cause?: Error };
    return { is: "silent", why: `${hub} does not answer (${cause?.message ?? message})` };
  }
}

function weights(files: readonly { rfilename: string; size?: number | undefined }[]): number | undefined {
  const found = files.filter(({ rfilename }) => rfilename.endsWith(".safetensors"));
  const bytes = found.reduce((sum, { size = 0 }) => sum + size, 0);
  return bytes > 0 ? bytes : undefined;
}
