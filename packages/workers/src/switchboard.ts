import type { Clock, Timer } from '@headgate/core'
import type { Answer, FromOthers, ToOthers } from './messages.ts'

/** Milliseconds that those who are asked may take together; what came by then is the answer. */
const PATIENCE = 2000

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
  readonly #calls: Map<number, Call> = new Map()
  readonly #kept: Map<string, unknown> = new Map()
  #next = 0

  constructor (lines: Lines, clock: Clock) {
    this.#lines = lines
    this.#clock = clock
  }

  /** A worker listens from now on. */
  joined (worker: number): void {
    this.#lines.send(worker, { headgate: 'kept', values: [...this.#kept] })
  }

  /** A worker has ended: what it was asked it will not answer. */
  left (worker: number): void {
    for (const [call, { waiting }] of this.#calls) if (waiting.has(worker)) this.#answered(worker, call, { nobody: true })
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
        return this.#ask(from, message)
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
    const whom = this.#whom(from, to)
    const call = ++this.#next
    const entry: Call = { from, id, waiting: new Set(whom), answers: [], timer: this.#clock.setTimeout(() => { this.#end(call) }, PATIENCE) }
    this.#calls.set(call, entry)
    for (const worker of whom) {
      if (!this.#lines.send(worker, { headgate: 'asked', call, topic, data, from, ...keep === true && { keep } })) entry.waiting.delete(worker)
    }
    if (entry.waiting.size === 0) this.#end(call)
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
