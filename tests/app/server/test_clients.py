"""Other people's HTTP clients, as they come: curl, Node's fetch and Java's HttpClient."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.pictures import Grey, png
from tests.support.running import Server

NODE = """
const [url, file] = process.argv.slice(2);
const fs = require('fs');
const post = async (body) => {
  const response = await fetch(url + '/predict', {method: 'POST', body});
  return [response.status, (await response.json()).digit ?? null];
};
(async () => {
  const form = new FormData();
  form.append('file', new Blob([fs.readFileSync(file)]), 'seven.png');
  const answers = [await post(form)];
  answers.push(await post(new Uint8Array(30_000_000)));
  answers.push(await post(fs.readFileSync(file)));
  console.log(JSON.stringify(answers));
})();
"""

# Java's client offers HTTP/2 with an upgrade by default.
JAVA = """
import java.net.URI;
import java.net.http.*;
import java.nio.file.*;

class Client {
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        byte[][] bodies = {Files.readAllBytes(Path.of(arguments[1])), new byte[30_000_000],
                           Files.readAllBytes(Path.of(arguments[1]))};
        for (byte[] body : bodies) {
            HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/predict"))
                .header("Content-Type", "image/png").POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
            HttpResponse<String> answer = client.send(request, HttpResponse.BodyHandlers.ofString());
            System.out.println(answer.statusCode() + " " + answer.body());
        }
    }
}
"""


@pytest.fixture
def picture(seven: Grey, tmp_path: Path) -> Path:
    """A 7 in a file."""
    path = tmp_path / "seven.png"
    path.write_bytes(png(seven))
    return path


def run(*command: str) -> str:
    """Run a client and return what it prints."""
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_may_offer_http2(server: Server, picture: Path) -> None:
    """`curl --http2` sends an upgrade with its form. It gets the answer over HTTP/1.1."""
    answer = run("curl", "-sS", "--http2", "-F", f"file=@{picture}", f"{server.url}/predict")
    assert json.loads(answer)["digit"] == 7


def test_node_s_fetch(server: Server, picture: Path, tmp_path: Path) -> None:
    """A form, a body over the limit and a bare picture: each gets its answer, also while the body is being sent."""
    (tmp_path / "client.js").write_text(NODE)
    answers = json.loads(run("node", str(tmp_path / "client.js"), server.url, str(picture)))
    assert answers == [[200, 7], [413, None], [200, 7]]


def test_java_s_http_client(server: Server, picture: Path, tmp_path: Path) -> None:
    """The standard client, with its upgrade to h2c: two pictures are read, and a body over the limit gets 413."""
    (tmp_path / "Client.java").write_text(JAVA)
    lines = run("java", str(tmp_path / "Client.java"), server.url, str(picture)).splitlines()
    assert [line.split()[0] for line in lines] == ["200", "413", "200"]
    assert '"digit":7' in lines[0]
    assert '"digit":7' in lines[2]
