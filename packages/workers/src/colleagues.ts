import type { Answer, FromOthers, ToOthers } from './messages.ts'

/** `HG_WORKERS_NOBODY`: who should have answered is not there, or has ended meanwhile. */
export class NobodyError extends Error {
  override readonly name = 'NobodyError'
  readonly code = 'HG_WORKERS_NOBODY'
  readonly statusCode = 503

  constructor (topic: string) {
    super(`no worker could answer (${topic}): ask again`)
  }
}

type Answers = readonly (readonly [from: number, answer: Answer])[]

/** What several workers answered, in no order; `missing`: those who did not in time. */
export interface Gathered {
  readonly answers: readonly { readonly from: number; readonly data: unknown }[]
  readonly missing: number
}

/** Answers what others ask; `from` names them until they have left. What it throws, the asker's promise rejects with. */
export type Handler = (data: never, from: number) => unknown

/**
 * The other workers of the machine, one of which, the speaker, answers for all. Data goes through JSON. What one tells another arrives in order;
 * there is always one speaker at most, and none for a moment when it has died.
 */
export class Colleagues {
  readonly #send: (message: ToOthers) => void
  readonly #handlers: Map<string, readonly Handler[]> = new Map()
  readonly #asked: Map<number, { resolve (answers: Answers, missing: number): void }> = new Map()
  readonly #kept: Map<string, unknown> = new Map()
  #held: FromOthers[] | undefined
  #next = 0
  #speaks = false
  #ready: () => void = () => {}
  /** Resolves when it is known who speaks, and what was kept. */
  readonly ready: Promise<void>

  constructor (send: (message: ToOthers) => void) {
    this.#send = send
    this.ready = new Promise((resolve) => { this.#ready = resolve })
  }

  /** This one answers for all. */
  get speaks (): boolean { return this.#speaks }

  /**
   * Answers a topic; returns how to stop. A later one takes an earlier one's place until it stops. `left` is told of those who have ended, `speaker`
   * whether this one speaks now.
   */
  on (topic: string, handler: Handler): () => void {
    this.#handlers.set(topic, [...this.#handlers.get(topic) ?? [], handler])
    return () => {
      const rest = (this.#handlers.get(topic) ?? []).filter((other) => other !== handler)
      if (rest.length > 0) this.#handlers.set(topic, rest)
      else this.#handlers.delete(topic)
    }
  }

  /** To all others, or to the speaker alone, which may be this one. */
  tell (to: 'others' | 'speaker', topic: string, data: unknown): void {
    this.#send({ headgate: 'tell', to, topic, data })
  }

  /** What the speaker answers. Rejects with what it threw, or with {@link NobodyError}. */
  async ask (to: 'speaker', topic: string, data: unknown): Promise<unknown> {
    const { answers: [[, answer] = [0, { nobody: true } as const]] } = await this.#ask(to, topic, data)
    if ('data' in answer) return answer.data
    throw 'error' in answer ? Object.assign(new Error(answer.error.message), answer.error) : new NobodyError(topic)
  }

  /** What all others answer who have something to say of it. */
  async gather (topic: string, data: unknown): Promise<Gathered> {
    const { answers, missing } = await this.#ask('others', topic, data)
    return { answers: answers.flatMap(([from, answer]) => 'data' in answer ? [{ from, data: answer.data }] : []), missing }
  }

  /** Tells all others, and whoever comes later finds it in {@link kept}. Resolves when all have taken it. */
  async keep (topic: string, value: unknown): Promise<void> {
    this.#kept.set(topic, value)
    await this.#ask('others', topic, value, true)
  }

  /** What was kept last, by whomever. */
  kept (topic: string): unknown {
    return this.#kept.get(topic)
  }

  /** For `Member` alone. */
  became (speaks: boolean): void {
    this.#speaks = speaks
    this.#handlerOf('speaker')?.(speaks as never, 0)
  }

  /** For `Member` alone. */
  take (message: FromOthers): void {
    if (this.#held !== undefined) this.#held.push(message)
    else this.#take(message)
  }

  #handlerOf (topic: string): Handler | undefined {
    return this.#handlers.get(topic)?.at(-1)
  }

  #take (message: FromOthers): void {
    switch (message.headgate) {
      case 'kept':
        for (const [topic, value] of message.values) this.#kept.set(topic, value)
        return this.#ready()
      case 'told':
        this.#handlerOf(message.topic)?.(message.data as never, message.from)
        return
      case 'asked':
        if (message.keep === true) this.#kept.set(message.topic, message.data)
        return void this.#answer(message)
      case 'answered':
        this.#asked.get(message.id)?.resolve(message.answers, message.missing)
        this.#asked.delete(message.id)
        return this.#hold()
      case 'left':
        this.#handlerOf('left')?.(message.worker as never, message.worker)
    }
  }

  /** Whoever waited for an answer goes on before anything that was told after it is heard. */
  #hold (): void {
    const held: FromOthers[] = this.#held = []
    setImmediate(() => {
      this.#held = undefined
      while (held.length > 0) this.take(held.shift()!)
    })
  }

  /** The primary has gone: nothing is answered any more. */
  alone (): void {
    for (const { resolve } of this.#asked.values()) resolve([], 0)
    this.#asked.clear()
  }

  #ask (to: 'others' | 'speaker', topic: string, data: unknown, keep?: true): Promise<{ readonly answers: Answers; readonly missing: number }> {
    if (!process.connected) return Promise.resolve({ answers: [], missing: 0 })
    const id = ++this.#next
    return new Promise((resolve) => {
      this.#asked.set(id, { resolve (answers, missing) { resolve({ answers, missing }) } })
      this.#send({ headgate: 'ask', id, to, topic, data, ...keep === true && { keep } })
    })
  }

  async #answer ({ call, topic, data, from }: FromOthers & { headgate: 'asked' }): Promise<void> {
    let answer: Answer
    try {
      const handler = this.#handlerOf(topic)
      answer = handler === undefined ? { nobody: true } : { data: await handler(data as never, from) ?? null }
    } catch (error) {
      const { message, code, statusCode } = error as Error & { code?: string; statusCode?: number }
      answer = { error: { message, code, statusCode } }
    }
    this.#send({ headgate: 'answer', call, answer })
  }
}
