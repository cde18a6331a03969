/** A finished run as its folder tells it: the manifests of the three stages that made its newest report. */
import { z } from "zod";
import { ConfigError } from "../../configs/load";
import { DATA_NAMES, type DataName } from "../../configs/schema";
import { ARTIFACTS, join, type Store } from "../artifacts";
import { STAGES } from "../stages";

const Fields = z.record(z.string(), z.unknown());
const File = z.object({ uri: z.string(), sha256: z.string() });
const Before = z.object({ uri: z.string(), fingerprint: z.string() });

const Record = z.looseObject({
  stage: z.enum(STAGES),
  run: z.string(),
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  config: Fields,
  settings: Fields.default({}),
  inputs: z.object({
    model: z.object({ uri: z.string(), revision: z.string() }),
    data: z.partialRecord(z.enum(DATA_NAMES), File).default({}),
    train: Before.optional(),
    merge: Before.optional(),
  }),
  outputs: z.array(z.looseObject({ path: z.string(), bytes: z.number(), sha256: z.string() })),
  image: z.string(),
  lock: z.string(),
  machine: Fields.default({}),
  startedAt: z.string(),
  finishedAt: z.string(),
  metrics: Fields.default({}),
});

/** A stage's manifest, with all that the stage was told. */
export type StageRecord = z.output<typeof Record>;

export interface FinishedRun {
  /** Its folder: a local directory or s3://…. */
  readonly uri: string;
  readonly name: string;
  readonly train: StageRecord;
  readonly merge: StageRecord;
  readonly evaluate: StageRecord;
}

const MANIFEST = new RegExp(`^(${STAGES.join("|")})-([0-9a-f]{12})/${ARTIFACTS.manifest}$`);

/** Where a stage's artifacts lie. */
export const outputOf = ({ uri }: FinishedRun, { stage, fingerprint }: StageRecord): string =>
  join(uri, `${stage}-${fingerprint.slice(0, 12)}`);

/** The data that the run read, by name. */
export const dataOf = ({ train, evaluate }: FinishedRun): Partial<Record<DataName, z.output<typeof File>>> => ({
  ...train.inputs.data,
  ...evaluate.inputs.data,
});

/**
 * The run whose folder is at `uri`: its newest finished evaluation, or the one that `uri` names
 * (…/evaluate-<12 hex digits>), and the stages that it stands on. Throws ConfigError if one has not finished.
 */
export async function finishedRun(uri: string, store: Store): Promise<FinishedRun> {
  const [, folder = uri, wanted] = /^(.*)\/evaluate-([0-9a-f]{12})$/.exec(uri) ?? [];
  const records = await recordsBelow(folder, store);
  const evaluations = records
    .filter(({ stage, fingerprint }) => stage === "evaluate" && fingerprint.startsWith(wanted ?? ""))
    .sort((a, b) => a.finishedAt.localeCompare(b.finishedAt));
  const evaluate = evaluations.at(-1);
  if (!evaluate) {
    const what = records.length > 0 ? "no finished evaluation" : "no finished stage of a run";
    throw new ConfigError([`${uri}: there is ${what}; finish the run first: it is known by what it left`]);
  }
  const before = (stage: "train" | "merge"): StageRecord | string => {
    const fingerprint = evaluate.inputs[stage]?.fingerprint ?? "";
    const found = records.find((record) => record.stage === stage && record.fingerprint === fingerprint);
    return found ?? `${join(folder, `${stage}-${fingerprint.slice(0, 12)}`)}: the manifest is gone or torn`;
  };
  const [train, merge] = [before("train"), before("merge")];
  const problems = [train, merge].filter((found) => typeof found === "string");
  if (typeof train === "string" || typeof merge === "string") throw new ConfigError(problems);
  return { uri: folder, name: evaluate.run, train, merge, evaluate };
}

async function recordsBelow(folder: string, store: Store): Promise<StageRecord[]> {
  const paths = [...(await store.listing(folder)).keys()].filter((path) => MANIFEST.test(path));
  const texts = await Promise.all(paths.map((path) => store.read(join(folder, path))));
  return texts.flatMap((text) => parsed(text ?? "") ?? []);
}

/** A torn manifest is as good as none. */
function parsed(text: string): StageRecord | undefined {
  try {
    return Record.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** The three records, in the order that the stages run. */
export const recordsOf = ({ train, merge, evaluate }: FinishedRun): readonly StageRecord[] => [train, merge, evaluate];
