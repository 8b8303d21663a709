import type { Clock, Timer } from '@headgate/core'
import type { Answer, FromOthers, ToOthers } from './messages.ts'

/** Milliseconds that those who are asked may take together; what came by then is the answer. */
const PATIENCE = 2000

/** Something of the primary's own that workers may ask. */
export interface Service {
  /** `from`: who asks. */
  answer (data: unknown, from: number): unknown
  /** A worker has ended. */
  left? (worker: number): void
}

/** Whom the switchboard can reach: ids of node:cluster. */
export interface Lines {
  others (than: number): readonly number[]
  /** `undefined`: there is none at the moment. */
  speaker (): number | undefined
  /** False: it has gone. */
  send (worker: number, message: FromOthers): boolean
}

interface Call {
  readonly from: number
  readonly id: number
  readonly waiting: Set<number>
  readonly answers: (readonly [from: number, answer: Answer])[]
  readonly timer: Timer
}

/** Carries what workers tell and ask each other: in the primary, which outlives them all. */
export class Switchboard {
  readonly #lines: Lines
  readonly #clock: Clock
  readonly #services: Readonly<Record<string, Service>>
  readonly #calls: Map<number, Call> = new Map()
  readonly #kept: Map<string, unknown> = new Map()
  #next = 0

  constructor (lines: Lines, clock: Clock, services: Readonly<Record<string, Service>>) {
    this.#lines = lines
    this.#clock = clock
    this.#services = services
  }

  /** A worker listens from now on. */
  joined (worker: number): void {
    this.#lines.send(worker, { headgate: 'kept', values: [...this.#kept] })
  }

  /** A worker has ended: what it was asked it will not answer. */
  left (worker: number): void {
    for (const [call, { waiting }] of this.#calls) if (waiting.has(worker)) this.#answered(worker, call, { nobody: true })
    for (const service of Object.values(this.#services)) service.left?.(worker)
    for (const other of this.#lines.others(worker)) this.#lines.send(other, { headgate: 'left', worker })
  }

  take (from: number, message: ToOthers): void {
    switch (message.headgate) {
      case 'tell': {
        const { topic, data } = message
        for (const to of this.#whom(from, message.to)) this.#lines.send(to, { headgate: 'told', topic, data, from })
        return
      }
      case 'ask': {
        if (message.keep === true) this.#kept.set(message.topic, message.data)
        return message.to === 'primary' ? void this.#serve(from, message) : this.#ask(from, message)
      }
      case 'answer':
        return this.#answered(from, message.call, message.answer)
    }
  }

  #whom (from: number, to: 'others' | 'speaker'): readonly number[] {
    if (to === 'others') return this.#lines.others(from)
    const speaker = this.#lines.speaker()
    return speaker === undefined ? [] : [speaker]
  }

  #ask (from: number, { id, to, topic, data, keep }: ToOthers & { headgate: 'ask' }): void {
    const whom = this.#whom(from, to as 'others' | 'speaker')
    const call = ++this.#next
    const entry: Call = { from, id, waiting: new Set(whom), answers: [], timer: this.#clock.setTimeout(() => { this.#end(call) }, PATIENCE) }
    this.#calls.set(call, entry)
    for (const worker of whom) {
      if (!this.#lines.send(worker, { headgate: 'asked', call, topic, data, from, ...keep === true && { keep } })) entry.waiting.delete(worker)
    }
    if (entry.waiting.size === 0) this.#end(call)
  }

  async #serve (from: number, { id, topic, data }: ToOthers & { headgate: 'ask' }): Promise<void> {
    let answer: Answer
    try {
      const service = this.#services[topic]
      answer = service === undefined ? { nobody: true } : { data: await service.answer(data, from) ?? null }
    } catch (error) {
      answer = { error: { message: (error as Error).message } }
    }
    this.#lines.send(from, { headgate: 'answered', id, answers: [[0, answer]], missing: 0 })
  }

  #answered (worker: number, call: number, answer: Answer): void {
    const entry = this.#calls.get(call)
    if (entry?.waiting.delete(worker) !== true) return
    entry.answers.push([worker, answer])
    if (entry.waiting.size === 0) this.#end(call)
  }

  #end (call: number): void {
    const entry = this.#calls.get(call)
    if (entry === undefined) return
    this.#calls.delete(call)
    this.#clock.clearTimeout(entry.timer)
    this.#lines.send(entry.from, { headgate: 'answered', id: entry.id, answers: entry.answers, missing: entry.waiting.size })
  }
}
