/** The JSON Schema of a run, for editors to complete and check as one types, and for suggesting keys. */
import { z } from "zod";
import { RunConfig } from "./schema";

export interface SchemaNode {
  readonly description?: string;
  readonly default?: unknown;
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly [keyword: string]: unknown;
}

/** Of what a person writes: keys with a default may be left out. */
export const runConfigJsonSchema = (): SchemaNode => z.toJSONSchema(RunConfig, { io: "input" }) as SchemaNode;
