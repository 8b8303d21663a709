import { join } from 'node:path'
import { measurePairs } from '../lib/pairs.mjs'
import { median, spread } from '../lib/rounds.mjs'

const headgate = { kind: 'headgate' }
const cookie = { headers: { Cookie: `other=${'x'.repeat(80)}` } }
const logged = (app, work) => [app, { ...app, log: join(work, `${app.kind}.log`) }]
const more = (...features) => [headgate, { ...headgate, features }]
const pairs = (work) => ({
  'headgate once more': [headgate, headgate],
  'headgate + health': more('health'),
  'headgate + sticky': more('sticky'),
  'headgate + sticky, beside any cookie': [{ ...headgate, ...cookie }, { ...headgate, features: ['sticky'] }],
  'headgate + metrics': more('metrics'),
  'headgate + empty hook': more('hook'),
  'headgate + empty onSend hook': more('onSend'),
  'headgate + log': logged(headgate, work),
  'hello + log': logged({ kind: 'hello' }, work),
  'reply-from + log': logged({ kind: 'reply-from' }, work)
})

const check = (text, list, limit) => {
  if (list === undefined) return { text, missing: true }
  const { median: value, low, high } = spread(list)
  return { text, value, low, high, met: value <= limit }
}

export default {
  order: 30,
  name: 'features',
  title: 'What features add',
  text: 'Small GET through three upstreams with one thing more: active health checks, a sticky cookie (each connection brings the one that it was given), metrics, an access log to a file; and what Fastify\'s logger adds to a route that answers by itself, and to bare `@fastify/reply-from`. The app with it and the app without are in one process and get bursts of 128 requests over 64 kept connections in turns (ABBABAAB); what is added is the mean of the middle half of the differences between a burst and the one beside it. Each round has new processes, one for each pair.',
  remarks: 'Two processes that run the same differ by more than a feature adds, as V8 makes something else of the same code in each; two apps in one process run the same compiled code, and ‘headgate once more’, the same app twice, shows what is left to chance. What this cannot show: code that only one of the two needs is compiled for both, and code of both sees the objects of both, which may cost either some nanoseconds more than it would alone; garbage is collected in few bursts, which the middle half leaves out; what runs beside requests, as the checks of health do, falls into the bursts of both. What metrics listen to is connected in their app\'s bursts only, as Node\'s channels are the process\'s. A client that has a sticky cookie sends one field more: in a pair of its own, any other cookie of 86 bytes costs 0.5 to 1 µs, which is Node\'s and Headgate\'s work for a field, so the feature is shown beside that, too. A connection that brings the same field as before has it compared with what was kept, and neither read nor looked up, which before cost 0.7 µs more. Metrics add one listener to each response, if no `onRequest` hook comes before theirs; behind one, which might answer, they need an `onResponse` hook, for which Fastify adds two and removes them: what an empty one costs is shown, and with one metrics cost that and 0.5 to 1.5 µs. Until Headgate kept one tick\'s object alive, Node 20 lost the hidden class of these objects in nearly every process with metrics, which made each `process.nextTick` 0.2 µs dearer, nine times a request; bare `@fastify/reply-from` meets that too. The access log is the two lines of Fastify\'s own logger, one of them with upstream, attempts and time. In a profile over a third of what they cost is the stream that collects lines and writes them to the file: for each line that is put behind others that wait, up to 16 KB, it copies these, so a line costs the more the longer all are. The three fields cost 1.5 µs in a pair of its own, where the same text appended without pino costs 1.2; with all digits of the time, a dozen more, they cost 3. Elsewhere all takes twice as long, and what is added with it. An `onSend` hook, as `@fastify/cookie` and `@fastify/session` have one, makes a short answer go through Fastify\'s reply. Since this table was made what hooks leave alone goes out as without them, and its fields are set at once: on a machine half as fast an empty hook added 22 to 31 µs before and 4.0 to 4.4 after, to 57 to 65 without, in turns, and 7.0 (5.9–13) elsewhere, with the context of its own; long bodies that it leaves as they are go past it, and cost the same as without. Where there are hooks, an error handler or a log, each request has an asynchronous context of its own in all that follows from its answer, which the figures here are without.',
  async run (context) {
    context.ports = (await context.startBackends(3)).ports
    const { figures, skipped } = await measurePairs(pairs(context.work), '/small', context)
    const adds = (name) => figures[name]?.adds
    const ratios = adds('headgate + log').map((value, i) => value / adds('hello + log')[i])
    return {
      columns: ['', 'µs per request without', 'adds µs', 'lowest–highest round'],
      rows: Object.entries(figures).map(([name, { us, adds }]) => {
        const { median: value, low, high } = spread(adds)
        return [name, median(us), value, `${low.toFixed(2)} – ${high.toFixed(2)}`]
      }),
      checks: [
        check('headgate + sticky ≤ 1.50 µs more than headgate', adds('headgate + sticky'), 1.5),
        check('headgate + metrics ≤ 1.50 µs more than headgate', adds('headgate + metrics'), 1.5),
        check('headgate + log adds ≤ 1.10 × what \'hello + log\' adds', ratios, 1.1)
      ],
      skipped
    }
  }
}
