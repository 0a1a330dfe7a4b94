from azmlinfsrv import rawhttp


def init():
    pass


@rawhttp
async def run(request):
    body = await request.get_data()
    text = await request.get_data(as_text=True)
    return {"body": list(body), "text": text, "types": [type(body).__name__, type(text).__name__]}
