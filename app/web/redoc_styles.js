// ReDoc styles itself with <style> elements. Each gets the nonce that the page's content security policy names; ReDoc's
// own option for it comes too late for those that it makes while it is loaded.
const { nonce } = document.currentScript;
const create = document.createElement.bind(document);
document.createElement = (name, options) => {
  const element = create(name, options);
  if (element.localName === "style") element.nonce = nonce;
  return element;
};
