/** The other processes of the same machine, one of which speaks for all: `colleagues` of a worker of `@headgate/workers`. */
export interface AdminSharing {
  /** This one answers for all. */
  readonly speaks: boolean
  /** Resolves when it is known what was kept. */
  readonly ready: Promise<void>
  /** Answers a topic from now on; `speaker` hears whether this one speaks, `left` who has ended. Returns how to stop. */
  on (topic: string, handler: (data: never, from: number) => unknown): () => void
  tell (to: 'others' | 'speaker', topic: string, data: unknown): void
  ask (to: 'speaker', topic: string, data: unknown): Promise<unknown>
  gather (topic: string, data: unknown): Promise<{ readonly answers: readonly { readonly from: number; readonly data: unknown }[]; readonly missing: number }>
  /** Tells all, newcomers too. */
  keep (topic: string, value: unknown): Promise<unknown>
  kept (topic: string): unknown
}
