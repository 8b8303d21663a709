// Load in bursts, to apps that take turns: { processes: [{ port, apps: [{ port, tls, http2, headers, fresh }, …] }, …], path, connections,
// requests, warm, seconds, first }. A burst is `requests` to one app, all answered; `warm` of them go to each app before, and `first` says
// which way the first turn goes. `fresh`: a connection for each request. Prints for each process a list of turns: CPU µs of a request to
// each of its apps.
import { once } from 'node:events'
import { connect } from 'node:net'
import { FreshClient } from './clients/fresh.mjs'
import { Http2Client } from './clients/http2.mjs'
import { KeptClient } from './clients/kept.mjs'

const { processes, path, connections, requests, warm, seconds, first } = JSON.parse(process.argv[2])

class App {
  #clients

  constructor (app) {
    const Client = app.http2 === true ? Http2Client : app.fresh === true ? FreshClient : KeptClient
    this.#clients = Array.from({ length: connections }, () => new Client(app, path))
  }

  burst () {
    return new Promise((resolve, reject) => {
      let toSend = requests
      let toCome = requests
      for (const client of this.#clients) {
        client.on(() => {
          if (toSend-- > 0) client.send()
          if (--toCome === 0) resolve()
        }, reject)
      }
      for (const client of this.#clients) if (toSend-- > 0) client.send()
    })
  }
}

function open ({ port, apps }) {
  const control = connect({ port, host: '127.0.0.1', noDelay: true })
  const turn = async (index) => {
    control.write(Buffer.of(index))
    const [data] = await once(control, 'data')
    return Number(data)
  }
  const asked = apps.map((app) => new App(app))
  const burst = async (index) => {
    const before = await turn(index)
    await asked[index].burst()
    return (await turn(index) - before) / requests
  }
  return { burst, indices: [...apps.keys()], turns: [] }
}

const all = processes.map(open)
for (const { burst, indices } of all) for (let sent = 0; sent < warm; sent += requests) for (const index of indices) await burst(index)
const until = performance.now() + seconds * 1000
for (let turn = first; performance.now() < until; turn++) {
  for (const { burst, indices, turns } of all) {
    const order = turn % 2 === 0 ? indices : indices.toReversed()
    // The first burst finds the caches as another process left them: whose that is changes, and the others come after it.
    for (const each of [order, order.toReversed()]) {
      const us = []
      for (const index of each) us[index] = await burst(index)
      turns.push(us)
    }
  }
}
process.stdout.write(JSON.stringify(all.map(({ turns }) => turns)), () => { process.exit() })
