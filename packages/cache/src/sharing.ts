/** The other processes of the same machine: `colleagues` of a worker of `@headgate/workers`. */
export interface CacheSharing {
  /** This one answers for all. */
  readonly speaks: boolean
  /** Answers a topic from now on; returns how to stop. */
  on (topic: string, handler: (data: never, from: number) => unknown): () => void
  /** Tells all others, in the order of the calls. */
  tell (to: 'others', topic: string, data: unknown): void
  /** Resolves to what the speaker answers; rejects when there is none who can. */
  ask (to: 'speaker', topic: string, data: unknown): Promise<unknown>
  /** Resolves to what all others answer; `missing`: those who did not in time. */
  gather (topic: string, data: unknown): Promise<{ readonly answers: readonly { readonly data: unknown }[]; readonly missing: number }>
}
