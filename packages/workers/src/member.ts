import cluster from 'node:cluster'
import { setShare } from '@headgate/core'
import type { Registry } from 'prom-client'
import { Colleagues } from './colleagues.ts'
import { CountersOfMachine } from './counters-of-machine.ts'
import type { CheckResult, FromPrimary, FromWorker } from './messages.ts'

/** Of several processes one checks: fits `sharing` of `@headgate/health`. */
export interface WorkerChecks {
  readonly checks: boolean
  tell (result: CheckResult): void
  taken: ((result: CheckResult, past: boolean) => void) | undefined
}

/** What a worker does with the others. */
export class Member {
  readonly index: number
  readonly count: number
  readonly checks: WorkerChecks
  /** The other workers, to be asked and told. */
  readonly colleagues: Colleagues = new Colleagues(send)
  /** Counts for limits of rates, which all workers have together. */
  readonly counters: CountersOfMachine = new CountersOfMachine(send)
  readonly #scrapes: Map<number, (text: string) => void> = new Map()
  #known: readonly CheckResult[] = []
  #checker = false
  #next = 0
  #registry: Registry | undefined
  #stop: () => void = () => {}
  #gone: () => void = () => {}

  constructor (index: number, count: number) {
    this.index = index
    this.count = count
    setShare(index, count)
    const isChecker = (): boolean => this.#checker
    const known = (): readonly CheckResult[] => this.#known
    let taken: WorkerChecks['taken']
    this.checks = {
      get checks () { return isChecker() },
      get taken () { return taken },
      set taken (listener) {
        taken = listener
        for (const result of known()) listener?.(result, true)
      },
      tell: (result) => { if (this.#checker) send({ headgate: 'check', result }) }
    }
    process.on('message', (message: FromPrimary) => { this.#onMessage(message) })
    process.once('disconnect', () => {
      this.colleagues.alone()
      this.counters.alone()
    })
    send({ headgate: 'hello' })
  }

  /** It serves. `stop` is called once, when it is to end: it closes the app and ends the process. */
  ready (address: string, stop: () => void): void {
    this.#stop = stop
    send({ headgate: 'ready', address })
  }

  /**
   * To be awaited between the closing of the server and the end of the process: a connection that is on its way here goes back to the primary then,
   * which gives it to another; with a process that is gone it would be lost.
   */
  async leave (): Promise<void> {
    if (!process.connected) return
    await new Promise<void>((resolve) => {
      this.#gone = resolve
      process.once('disconnect', resolve)
      send({ headgate: 'bye' })
    })
    // Once more, so that the answers before it are written.
    if (process.connected) await new Promise<void>((resolve) => { process.send!({ headgate: 'bye' } satisfies FromWorker, undefined, undefined, () => { resolve() }) })
  }

  /** The metrics of all workers as one text: counters, histograms and gauges are sums. For `collect` of `@headgate/metrics`. */
  collect (registry: Registry): Promise<string> {
    this.#registry = registry
    const id = ++this.#next
    return new Promise((resolve) => {
      this.#scrapes.set(id, resolve)
      send({ headgate: 'scrape', id })
    })
  }

  /** Metrics that belong to {@link collect}, before it is called for the first time. */
  registered (registry: Registry): void {
    this.#registry = registry
  }

  #onMessage (message: FromPrimary): void {
    switch (message.headgate) {
      case 'stop':
        return this.#stop()
      case 'gone':
        return this.#gone()
      case 'checker':
        this.#checker = message.you
        this.#known = message.known
        for (const result of message.known) this.checks.taken?.(result, true)
        return this.colleagues.became(message.you)
      case 'check':
        return this.checks.taken?.(message.result, false)
      case 'collect':
        void (this.#registry?.getMetricsAsJSON() ?? Promise.resolve([])).then((metrics) => { send({ headgate: 'part', id: message.id, metrics }) })
        return
      case 'scraped':
        this.#scrapes.get(message.id)?.(message.text)
        this.#scrapes.delete(message.id)
        return
      case 'counted':
        return this.counters.take(message)
      case 'kept':
      case 'told':
      case 'asked':
      case 'answered':
      case 'left':
        this.colleagues.take(message)
    }
  }
}

function send (message: FromWorker): void {
  if (process.connected) process.send!(message, undefined, undefined, () => {})
}

let member: Member | undefined

/** This process as one of several workers; `undefined` when it is none. To be called before pools are made. */
export function joinWorkers (): Member | undefined {
  const index = Number(process.env['HEADGATE_WORKER'])
  const count = Number(process.env['HEADGATE_WORKERS'])
  if (!cluster.isWorker || !Number.isInteger(index) || !(count >= 1)) return undefined
  return member ??= new Member(index, count)
}
