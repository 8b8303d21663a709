import cluster, { type Worker } from 'node:cluster'
import { availableParallelism } from 'node:os'
import { type Clock, refuse, systemClock, type Timer } from '@headgate/core'
import { Counters } from './counters.ts'
import { endWithWorker } from './handoffs.ts'
import type { CheckResult, FromPrimary, FromWorker } from './messages.ts'
import { Scrapes } from './scrapes.ts'
import { Switchboard } from './switchboard.ts'

/** Milliseconds before a worker that died is replaced: from, to; and after how long a life it counts as healthy. */
const SOONEST = 100
const LATEST = 10_000
const HEALTHY = 10_000

export type SupervisorLog = (level: 'info' | 'warn' | 'error', message: string, fields: Readonly<Record<string, unknown>>) => void

export interface SupervisorOptions {
  /** Processes that serve, 1–1024, or `auto`: one for each core. */
  readonly count: number | 'auto'
  /** Script of the workers, and its arguments. @default this process's own */
  readonly exec?: string
  readonly args?: readonly string[]
  /** Milliseconds that a worker may take to be ready, and to end when it is told to. @default 60000, 35000 */
  readonly readyTimeout?: number
  readonly closeTimeout?: number
  readonly log?: SupervisorLog
  readonly clock?: Clock
}

/** One place among the workers; during a reload two processes share it for a moment. */
interface Slot {
  readonly index: number
  worker: Worker | undefined
  deaths: number
  timer: Timer
}

/** A worker ended before it was ready. `status`: what it ended with. */
export class WorkerStartError extends Error {
  override readonly name = 'WorkerStartError'
  readonly code = 'HG_WORKERS_START'
  readonly status: number

  constructor (index: number, status: number) {
    super(`worker ${index} ended with status ${status} before it was ready`)
    this.status = status
  }
}

/**
 * Keeps so many workers running: replaces those that die, the longer waiting the more often they do; renews them one after the other; and
 * carries what they tell each other. Connections go round among them (node:cluster's round robin).
 */
export class Supervisor {
  readonly count: number
  readonly #slots: Slot[]
  readonly #log: SupervisorLog
  readonly #clock: Clock
  readonly #readyTimeout: number
  readonly #closeTimeout: number
  readonly #scrapes: Scrapes
  readonly #switchboard: Switchboard
  /** Here, since this process outlives its workers. */
  readonly #counters: Counters
  readonly #ready: Set<Worker> = new Set()
  /** Those that run and are not to end. */
  readonly #living: Set<Worker> = new Set()
  /** Those that can be asked and told: until they have ended. */
  readonly #reachable: Set<Worker> = new Set()
  /** Told to end, or about to be. */
  readonly #leaving: Set<Worker> = new Set()
  /** The last result of each check, for workers that come later. */
  readonly #checks: Map<string, CheckResult> = new Map()
  #checker: Worker | undefined
  #stopping = false
  #reloading: Promise<void> | undefined

  /** Throws `HG_POOL_INVALID_OPTION`. */
  constructor (options: SupervisorOptions) {
    const { count } = options
    if (count !== 'auto' && !(Number.isInteger(count) && count >= 1 && count <= 1024)) refuse('workers', "must be an integer of 1–1024, or 'auto'", count)
    this.count = count === 'auto' ? availableParallelism() : count
    this.#log = options.log ?? (() => {})
    this.#clock = options.clock ?? systemClock
    this.#readyTimeout = options.readyTimeout ?? 60_000
    this.#closeTimeout = options.closeTimeout ?? 35_000
    this.#scrapes = new Scrapes(this.#clock)
    this.#counters = new Counters(this.#clock)
    this.#switchboard = new Switchboard({
      others: (than) => [...this.#reachable].map(({ id }) => id).filter((id) => id !== than),
      speaker: () => this.#checker?.id,
      send: (id, message) => {
        const worker = cluster.workers?.[id]
        return worker !== undefined && this.#send(worker, message)
      }
    }, this.#clock)
    this.#slots = Array.from({ length: this.count }, (_, index) => ({ index, worker: undefined, deaths: 0, timer: undefined }))
    cluster.schedulingPolicy = cluster.SCHED_RR
    cluster.setupPrimary({ ...options.exec !== undefined && { exec: options.exec }, ...options.args !== undefined && { args: [...options.args] } })
  }

  /** Process ids, by index; 0 where there is none at the moment. */
  get pids (): number[] { return this.#slots.map(({ worker }) => worker?.process.pid ?? 0) }
  /** Process id of the worker that checks the upstreams; 0 without one. */
  get checker (): number { return this.#checker?.process.pid ?? 0 }

  /** Starts all; resolves to the address when all are ready. When one ends before, ends all and rejects with {@link WorkerStartError}. */
  async start (): Promise<string> {
    try {
      const addresses = await Promise.all(this.#slots.map((slot) => this.#fork(slot)))
      this.#log('info', 'workers are ready', { workers: this.count, address: addresses[0] })
      return addresses[0]!
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  /**
   * Renews the workers one after the other: a new one is ready before the old one is told to end. When a new one does not get ready, the old ones
   * stay, and it rejects with {@link WorkerStartError}.
   */
  reload (): Promise<void> {
    return this.#reloading ??= this.#renew().finally(() => { this.#reloading = undefined })
  }

  /** Tells all to end; resolves when they have. Those that do not in time are killed. */
  async stop (): Promise<void> {
    this.#stopping = true
    for (const slot of this.#slots) this.#clock.clearTimeout(slot.timer)
    await Promise.all(Object.values(cluster.workers ?? {}).filter((worker) => worker !== undefined).map((worker) => this.#end(worker)))
  }

  async #renew (): Promise<void> {
    for (const slot of this.#slots) {
      if (this.#stopping) return
      const old = slot.worker
      // It is not replaced for dying now.
      if (old !== undefined) this.#leaving.add(old)
      try {
        await this.#fork(slot)
      } catch (error) {
        if (old?.isDead() === false) {
          slot.worker = old
          this.#leaving.delete(old)
        } else this.#later(slot)
        throw error
      }
      if (old !== undefined) await this.#end(old)
    }
    this.#log('info', 'workers are renewed', { workers: this.count })
  }

  #fork (slot: Slot): Promise<string> {
    const worker = cluster.fork({ HEADGATE_WORKER: String(slot.index), HEADGATE_WORKERS: String(this.count) })
    slot.worker = worker
    endWithWorker(worker)
    const startedAt = this.#clock.now()
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimeout(() => { worker.process.kill('SIGKILL') }, this.#readyTimeout)
      let ready = false
      worker.on('message', (message: FromWorker) => {
        if (message.headgate === 'ready') {
          ready = true
          this.#clock.clearTimeout(timer)
          this.#ready.add(worker)
          resolve(message.address)
        } else this.#onMessage(worker, message)
      })
      worker.on('exit', (code, signal) => {
        this.#clock.clearTimeout(timer)
        this.#ready.delete(worker)
        this.#living.delete(worker)
        this.#scrapes.gone(worker.id)
        if (this.#checker === worker) this.#choose()
        this.#reachable.delete(worker)
        this.#switchboard.left(worker.id)
        const wanted = this.#leaving.delete(worker) || this.#stopping
        if (!ready) return reject(new WorkerStartError(slot.index, code ?? 1))
        if (wanted) return
        if (this.#clock.now() - startedAt > HEALTHY) slot.deaths = 0
        this.#log('error', 'a worker died', { worker: slot.index, pid: worker.process.pid, code, signal })
        this.#later(slot)
      })
    })
  }

  /** Another in place of one that died. */
  #later (slot: Slot): void {
    slot.worker = undefined
    const wait = Math.min(SOONEST * 2 ** slot.deaths++, LATEST)
    slot.timer = this.#clock.setTimeout(() => {
      if (this.#stopping || slot.worker !== undefined) return
      this.#fork(slot).then(() => {
        this.#log('warn', 'a worker was replaced', { worker: slot.index, pid: slot.worker?.process.pid })
      }, (error: unknown) => {
        this.#log('error', (error as Error).message, { worker: slot.index })
        if (!this.#stopping) this.#later(slot)
      })
    }, wait, true)
  }

  async #end (worker: Worker): Promise<void> {
    if (worker.isDead()) return
    this.#leaving.add(worker)
    const served = this.#ready.delete(worker)
    this.#living.delete(worker)
    if (this.#checker === worker) this.#choose()
    const ended = new Promise<void>((resolve) => { worker.once('exit', () => { resolve() }) })
    const timer = this.#clock.setTimeout(() => { worker.process.kill('SIGKILL') }, this.#closeTimeout)
    if (served) this.#send(worker, { headgate: 'stop' })
    // It has no clients, and may not listen to anybody yet.
    else worker.process.kill('SIGKILL')
    await ended
    this.#clock.clearTimeout(timer)
  }

  /** One checks for all, best one that knows the upstreams already. */
  #choose (): void {
    const [next = [...this.#living][0]] = this.#ready
    this.#checker = next
    if (next !== undefined) this.#send(next, { headgate: 'checker', you: true, known: [...this.#checks.values()] })
  }

  #onMessage (from: Worker, message: FromWorker): void {
    switch (message.headgate) {
      case 'hello':
        // It may wait for results before it is ready.
        this.#living.add(from)
        this.#reachable.add(from)
        if (this.#checker === undefined) this.#choose()
        else this.#send(from, { headgate: 'checker', you: false, known: [...this.#checks.values()] })
        this.#switchboard.joined(from.id)
        break
      case 'bye':
        this.#send(from, { headgate: 'gone' })
        break
      case 'check':
        if (from !== this.#checker) return
        this.#checks.set(`${message.result.pool}\n${message.result.upstream}`, message.result)
        for (const worker of this.#living) if (worker !== from) this.#send(worker, { headgate: 'check', result: message.result })
        break
      case 'scrape':
        this.#scrapes.begin([...this.#ready].map(({ id }) => id), (worker, id) => {
          const asked = cluster.workers?.[worker]
          if (asked === undefined) this.#scrapes.gone(worker)
          else this.#send(asked, { headgate: 'collect', id })
        }, (text) => { this.#send(from, { headgate: 'scraped', id: message.id, text }) })
        break
      case 'part':
        this.#scrapes.part(from.id, message.id, message.metrics)
        break
      case 'count':
        this.#send(from, { headgate: 'counted', id: message.id, counts: message.events.map((event) => this.#counters.count(event)) })
        break
      case 'tell':
      case 'ask':
      case 'answer':
        this.#switchboard.take(from.id, message)
    }
  }

  /** False: it has just gone, and hears nothing any more. */
  #send (worker: Worker, message: FromPrimary): boolean {
    if (!worker.isConnected()) return false
    worker.send(message, () => {})
    return true
  }
}
