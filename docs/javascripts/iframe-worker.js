// Search without a server: a page that is opened as a file may start no Worker, so a hidden frame does its work.
// The theme looks for `IFrameWorker` by this name.
(() => {
  if (location.protocol !== "file:") return;

  class IFrameWorker extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.started = new Promise((resolve, reject) => {
        document.body.append(this.frame);
        const inside = this.frame.contentWindow;
        inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
        inside.importScripts = async (...urls) => {
          for (const one of urls) await load(inside.document, one);
        };
        load(inside.document, url).then(() => resolve(inside), reject);
      });
    }

    postMessage(data) {
      this.started.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  }

  function load(where, url) {
    return new Promise((resolve, reject) => {
      const script = where.createElement("script");
      script.src = url;
      script.onload = resolve;
      script.onerror = () => reject(new Error(`${url} cannot be read`));
      where.body.append(script);
    });
  }

  window.IFrameWorker = window.Worker = IFrameWorker;
})();
