// Clients that ask all proxies in turn, over kept connections, and count what is no 200.
import { Agent, request } from 'node:http'

export class Load {
  requests = 0
  /** What went wrong, in words, and how often. */
  failures = new Map()
  /** Milliseconds that the slowest took since this was set to 0. */
  slowest = 0
  hits = 0
  #agent = new Agent({ keepAlive: true })
  #urls
  #clients = []
  #turn = 0

  constructor (urls) {
    this.#urls = urls
  }

  get failed () { return [...this.failures.values()].reduce((sum, count) => sum + count, 0) }

  get clients () { return this.#wanted }

  /** So many clients from now on. */
  set clients (count) {
    while (this.#clients.length < count) this.#clients.push(this.#client(this.#clients.length))
    this.#wanted = count
  }

  #wanted = 0

  async stop () {
    this.#wanted = 0
    await Promise.all(this.#clients)
    this.#agent.destroy()
  }

  async #client (index) {
    // One that is not wanted now waits until it is.
    await new Promise((resolve) => { setImmediate(resolve) })
    while (index < this.#wanted) {
      const turn = this.#turn++
      // Every fourth answer may come from the cache.
      const path = turn % 4 === 0 ? `/cached/${turn % 60}` : `/jobs/${turn}`
      const began = performance.now()
      const problem = await this.#ask(`${this.#urls[turn % this.#urls.length]}${path}`)
      this.requests++
      this.slowest = Math.max(this.slowest, performance.now() - began)
      if (problem !== undefined) this.failures.set(problem, (this.failures.get(problem) ?? 0) + 1)
      await new Promise((resolve) => { setTimeout(resolve, 5) })
    }
    this.#clients.splice(this.#clients.length - 1, 1)
  }

  #ask (url) {
    return new Promise((resolve) => {
      const sent = request(url, { agent: this.#agent }, (response) => {
        if (/;\s*hit/.test(response.headers['cache-status'] ?? '')) this.hits++
        response.resume()
        response.on('end', () => { resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`) })
        response.on('error', (error) => { resolve(error.message) })
      })
      sent.on('error', (error) => { resolve(`${error.message}${sent.reusedSocket ? ' on a connection that was idle' : ''}`) })
      sent.end()
    })
  }
}
