// Some visitors, so that the dashboard has something to show: about 40 requests a second. Argument: the proxy's URL.
const url = `${process.argv[2]}/work`
const VISITORS = 8
const PAUSE = 300

async function visitor () {
  for (;;) {
    await fetch(url).then((response) => response.arrayBuffer(), () => {})
    await new Promise((resolve) => setTimeout(resolve, Math.random() * PAUSE))
  }
}

for (let i = 0; i < VISITORS; i++) void visitor()
process.send({})
process.on('SIGTERM', () => process.exit(0))
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit(0))
