import type { Colleagues, Gathered } from '../src/index.ts'

type Handler = (data: never, from: number) => unknown

/**
 * Several processes' worth of {@link Colleagues} in one: everything goes through JSON and through one place, one message after the other, and takes
 * some turns of the event loop.
 */
export class Bus {
  readonly members: BusMember[] = []
  readonly #queue: (() => void)[] = []
  readonly #turns: () => number
  #running = false
  /** Messages of each topic. */
  readonly sent: Map<string, number> = new Map()

  /** `turns`: of the event loop that the next message takes. */
  constructor (turns: () => number = () => 1) {
    this.#turns = turns
  }

  join (): BusMember {
    const member = new BusMember(this, this.members.length)
    this.members.push(member)
    return member
  }

  carry (topic: string, message: () => void): void {
    const name = topic.split(' ')[0]!
    this.sent.set(name, (this.sent.get(name) ?? 0) + 1)
    this.#queue.push(message)
    if (!this.#running) void this.#run()
  }

  async #run (): Promise<void> {
    this.#running = true
    for (let message = this.#queue.shift(); message !== undefined; message = this.#queue.shift()) {
      for (let turns = this.#turns(); turns > 0; turns--) await new Promise((resolve) => { setImmediate(resolve) })
      message()
    }
    this.#running = false
  }
}

export class BusMember implements Pick<Colleagues, 'speaks' | 'ready' | 'on' | 'tell' | 'ask' | 'gather'> {
  readonly #bus: Bus
  readonly #index: number
  readonly #handlers: Map<string, Handler> = new Map()
  /** It hangs: hears nothing until it goes on. */
  hangs = false
  readonly #missed: (() => void)[] = []
  readonly ready: Promise<void> = Promise.resolve()

  constructor (bus: Bus, index: number) {
    this.#bus = bus
    this.#index = index
  }

  get speaks (): boolean { return this.#index === 0 }

  on (topic: string, handler: Handler): () => void {
    this.#handlers.set(topic, handler)
    return () => { this.#handlers.delete(topic) }
  }

  tell (_to: 'others' | 'speaker', topic: string, data: unknown): void {
    for (const other of this.#others()) this.#bus.carry(topic, () => { other.hear(topic, data, this.#index, () => {}) })
  }

  ask (_to: 'speaker', topic: string, data: unknown): Promise<unknown> {
    const [speaker] = this.#bus.members
    return new Promise((resolve) => {
      const answered = (answer: unknown): void => { this.#bus.carry(topic, () => { resolve(answer) }) }
      this.#bus.carry(topic, () => { speaker!.hear(topic, data, this.#index, answered) })
    })
  }

  async gather (topic: string, data: unknown): Promise<Gathered> {
    const others = this.#others()
    const answers: Gathered['answers'][number][] = []
    const missing = others.filter(({ hangs }) => hangs).length
    await Promise.all(others.map((other) => new Promise<void>((resolve) => {
      if (other.hangs) resolve()
      this.#bus.carry(topic, () => {
        other.hear(topic, data, this.#index, (answer) => {
          this.#bus.carry(topic, () => {
            if (answer !== undefined) answers.push({ from: other.#index, data: answer })
            resolve()
          })
        })
      })
    })))
    return { answers, missing }
  }

  goOn (): void {
    this.hangs = false
    for (const message of this.#missed.splice(0)) message()
  }

  hear (topic: string, data: unknown, from: number, answer: (data: unknown) => void): void {
    if (this.hangs) return void this.#missed.push(() => { this.hear(topic, data, from, answer) })
    const handler = this.#handlers.get(topic)
    if (handler === undefined) return answer(undefined)
    const copy = (value: unknown): unknown => value === undefined ? undefined : JSON.parse(JSON.stringify(value))
    void Promise.resolve(handler(copy(data) as never, from)).then((result) => { answer(copy(result)) })
  }

  #others (): BusMember[] {
    return this.#bus.members.filter((member) => member !== this)
  }
}
