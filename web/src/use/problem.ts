/** What the server refused, with its code. `status` 0: it did not answer at all. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly params: Record<string, unknown> = {},
    readonly requestId = "",
  ) {
    super(detail);
  }
}

export const NO_ANSWER = "no-answer";
