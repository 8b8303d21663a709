import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Browser } from './browser.ts'

interface Me { readonly by: string; readonly user: string | null; readonly visits: number }

type Test = { teardown (action: () => unknown): void }

/** An application in a process of its own that keeps its sessions in memory; ended with the test. */
export async function startApp (t: Test, name: string): Promise<{ id: string; url: string; child: ChildProcess }> {
  const child = fork(fileURLToPath(new URL('fixtures/login-app.mjs', import.meta.url)), [name], { execArgv: [] })
  t.teardown(() => { child.kill('SIGKILL') })
  const [{ port }] = await once(child, 'message') as [{ port: number }]
  return { id: name, url: `http://127.0.0.1:${port}`, child }
}

/** People who are logged in, and notice when they are not. */
export class People {
  readonly homes: string[] = []
  readonly #visits: number[] = []
  readonly #browsers: Browser[]
  lost: number[] = []

  constructor (url: string, count: number) {
    this.#browsers = Array.from({ length: count }, () => new Browser(url))
  }

  async login (): Promise<void> {
    await Promise.all(this.#browsers.map(async (_, i) => this.#login(i)))
  }

  /** Requests of one after the other, eight at a time. Whoever finds himself logged out logs in again. */
  async roam (requests: number): Promise<void> {
    const width = Math.min(8, this.#browsers.length)
    for (let n = 0; n < requests; n += width) await Promise.all(Array.from({ length: width }, async (_, k) => this.#visit((n + k) % this.#browsers.length)))
  }

  async #login (i: number): Promise<void> {
    this.homes[i] = (await (await this.#browsers[i]!.go(`/login/user-${i}`, { method: 'POST' })).json() as Me).by
    this.#visits[i] = 0
  }

  async #visit (i: number): Promise<void> {
    const response = await this.#browsers[i]!.go('/me')
    const me = await response.json() as Me
    if (response.status !== 200) throw new Error(JSON.stringify(me))
    if (me.user === null) {
      this.lost.push(i)
      return this.#login(i)
    }
    if (me.user !== `user-${i}` || me.by !== this.homes[i] || me.visits !== ++this.#visits[i]!) throw new Error(`user-${i} of ${this.homes[i]}: ${JSON.stringify(me)}`)
  }
}
