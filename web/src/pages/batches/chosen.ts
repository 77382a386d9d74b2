import { retryItems, skipItems } from "@/api/batches";
import type { Batch, Item } from "@/api/types";

/** What can be done with some items of a batch. */

export const VERBS = { retry: retryItems, skip: skipItems } as const;
export type ItemVerb = keyof typeof VERBS;

const FITS: Record<ItemVerb, readonly Item["status"][]> = { retry: ["failed", "skipped"], skip: ["pending"] };

/** The ids of those selected items that each verb fits; verbs that fit none are left out. */
export function chosenFor(batch: Batch, items: readonly Item[], selected: ReadonlySet<string>) {
  // Nothing is done again in a batch that has not begun.
  const verbs: ItemVerb[] = batch.status === "pending" ? ["skip"] : ["retry", "skip"];
  return verbs
    .map((verb) => ({
      verb,
      ids: items
        .filter((item) => selected.has(item.item_id) && FITS[verb].includes(item.status))
        .map((item) => item.item_id),
    }))
    .filter(({ ids }) => ids.length > 0);
}
